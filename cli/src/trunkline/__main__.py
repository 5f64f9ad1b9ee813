"""``python -m trunkline`` is the ``trunkline`` command."""

from trunkline.main import main

main()
