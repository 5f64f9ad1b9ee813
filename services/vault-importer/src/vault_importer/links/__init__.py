"""Who the archive's people are: links of contacts to customers and leads, and the roles of conversations."""
