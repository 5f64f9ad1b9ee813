"""A SIP server that asks the router: its configuration, made from an operator's settings."""
