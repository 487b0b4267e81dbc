"""The hosts of an inventory, and what is done on them over ssh."""
