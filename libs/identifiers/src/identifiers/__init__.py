"""Pure parsing and checksums of what Indian business texts carry: numbers, tax identifiers, money, addresses.

Every ``find_…`` function gives half-open spans into the text it was given, in order and without overlap, and
takes time linear in its length. Import from the module that names the identifier.
"""
