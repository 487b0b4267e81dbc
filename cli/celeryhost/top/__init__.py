"""What `celeryhost top` shows: samples of each host, and what is made of them."""
