"""The watchdog of a host: what it decides, and its work under supervisord."""
