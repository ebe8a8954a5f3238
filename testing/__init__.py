"""Code that tests, benchmarks and load tests share: real servers and stores, photographs, concurrent callers."""
