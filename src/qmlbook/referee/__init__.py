"""A circuit of your own, held against controls that are made from it, by a rule sealed first.

In reading order: ``case`` (what is asked), ``circuits`` (what a circuit computes, and what is made
of it), ``players`` (all that it is held against), ``runs`` (one run), ``decide`` (the rule),
``rates`` (how often it errs), ``plan`` (what is fixed, and its seal), ``judge`` (from a case to a
report), ``report`` (its pages) and ``example``.
"""
