"""What is installed: the lists (`.in`), the locks, and the programs that write and install the locks."""
