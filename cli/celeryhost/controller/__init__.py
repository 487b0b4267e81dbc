"""What stays with Ansible on the controller; no host needs it."""
