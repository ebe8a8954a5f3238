"""The processes under the service: signals, processors, logs, and what is changed in BentoML, uvicorn and circus."""
