"""Log files: their lines by time, through rotation, of many programs at once."""
