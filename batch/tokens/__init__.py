"""How many tokens a request is before it is sent: an estimate with its range, learned from what services billed.

Owns what is counted of a text, the weights of these counts for each model, and the file in the state folder that keeps
what was learned. Knows no price, no limit, no job and no tokenizer; `batch.limits` reserves by a quicker measure of its
own, which must never be too low. Doors: `measure`, `model`, `calibration`, `learner`.
"""
