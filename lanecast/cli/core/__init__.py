"""What the command line decides, without I/O."""
