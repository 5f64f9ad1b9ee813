"""Makes encrypted backups with invented content: for demonstrations, tests and measurements."""

from vault_importer.samples.encrypt import encrypt_crypt15
from vault_importer.samples.generate import SampleOptions, write_msgstore, write_sample

__all__ = ["SampleOptions", "encrypt_crypt15", "write_msgstore", "write_sample"]
