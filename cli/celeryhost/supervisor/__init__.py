"""supervisord: finding and asking it, its files, its programs and what becomes of them."""
