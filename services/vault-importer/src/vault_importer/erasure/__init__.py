"""Forgetting a person: asked for, approved by two, planned, carried out, answered by everybody, certified."""
