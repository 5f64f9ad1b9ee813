"""Dead letters: looked at, tried again in the order of their keys, edited, dropped; all of it audited.

``book`` reads them, ``masks`` hides what they say, ``actions`` and ``bulk`` are what operators do, ``worker`` does what
takes a handler, ``api`` is how it is asked for. The records themselves are parked by ``kit.dead_letters``.
"""
