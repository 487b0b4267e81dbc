"""What beat sends, and when: a schedule read, explained and put into words."""
