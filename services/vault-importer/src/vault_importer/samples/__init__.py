"""Makes encrypted backups with invented content: for demonstrations, tests and measurements."""

from vault_importer.samples.encrypt import encrypt
from vault_importer.samples.generate import SampleOptions, write_msgstore, write_sample

__all__ = ["SampleOptions", "encrypt", "write_msgstore", "write_sample"]
