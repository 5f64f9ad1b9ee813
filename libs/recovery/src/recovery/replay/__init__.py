"""Replays: planned, tried without effect, run beside live traffic, compared, promoted.

Data goes this way: :mod:`plan` freezes what is to be read (``topics`` resolves and counts it); :mod:`run` reads it,
gives it to ``kit.handling`` under the replay's id and keeps its place in :mod:`book`; :mod:`throttle` yields to live
traffic; :mod:`shadow` keeps the effects apart, :mod:`compare` says what they changed, :mod:`settle` promotes or
discards them, :mod:`rebuild` makes projections from nothing; :mod:`rehearsal` takes every effect back.
"""
