"""What the lines that commands print are about, and the turns of phrase that come again in them.

Owns their explanations. The lines themselves are written by the command that prints them; a test holds the two
together, both ways.
"""

from __future__ import annotations

from typing import Final

LINES: Final[dict[str, str]] = {
    "API key": "Of check: which environment variable the key comes from. The key itself is never shown.",
    "accuracy": "Of labels: the share of valid labels that are the truth, of the rows whose truth is known.",
    "address": "Of check: where requests go, and how a provider of the job's own is spoken to.",
    "addresses": "Of check: each of several addresses (model.endpoints), whence its key comes, and its own limits.",
    "agreement": "Of labels: which part of the askings of a row said its label, on average, and how many rows were "
    "unanimous. Missing where no row was asked several times.",
    "allowed": "Of run: what --max-failed allows, and whether it was kept.",
    "answer tokens": "Of estimate: tokens that the next run will get, those of thinking included.",
    "answers": "Of rebuild: rows whose calls are in the book and whose answers are in no part, and whether they are "
    "paid for a second time.",
    "auto": "In lane auto: by when all is to be done, what was decided for that, and why.",
    "batch and flex": "Of cost: what the calls at prices of batch files or of the flex tier would have cost more at "
    "the standard ones.",
    "batch files": "Of estimate: what the same calls cost by batch files, where such a price is published.",
    "batches": "Batch files that the provider has, each with its id, how far it is and how old it is. Of rebuild: that "
    "others may be there, for which the next run looks.",
    "book": "Of rebuild: calls and runs that were found in OUT/calls and OUT/runs.",
    "budget": "Of check: the limits of [budget] and what is left of those that runs share. Of run and status: what is "
    "left of each.",
    "cache": "Of cost: tokens that came from the provider's cache, and what they would have cost more at the full "
    "price.",
    "calls": "How many calls ended and how: answered, refused, failed, unknown.",
    "confidence": "Of labels: how sure the model was of its label, on average. Missing where no service told.",
    "converted": "Of cost: the total in one currency, by the dated rates of --rates; without them nothing is "
    "converted.",
    "copy": "Of status, for output in an object store: where its files lie on this machine, and whether they can go.",
    "copy of": "Of show: the row that was asked, and whose answer this one shares (prompt.dedupe).",
    "cost": "Exact money by currency. Calls whose price or tokens are not known are in no sum, and counted beside it.",
    "days": "Of cost: the time zones of its days and hours, and whose calls they are of.",
    "doubts": "Of prices: what is to be said against a line: not confirmed, or compared with its source long ago.",
    "ended by": "Of show: why the answer ended (finish_reason), and the flags of the row.",
    "exit code": "What the command of the last run ended with; missing while it works, and when it was killed.",
    "failed": "Failed rows that stand in the table, by whether the next run asks them again.",
    "flags": "Rows whose answer is kept and has something to know about it, with what can be done.",
    "gone": "Rows of the table that are not in the input any more, or whose variant is not asked any more.",
    "id": "Of prices: what stands in price_id of the calls that are billed by this line.",
    "input": "Of check: the input, its rows and bytes. Of prune and estimate: how many rows of it were read.",
    "kappa": "Of labels: Cohen's kappa, the accuracy beyond what chance would reach: 1 is perfect, 0 is chance.",
    "kept": "Of rebuild: what the old ledger still knew of work under way, and the new one has.",
    "key": "Of check: the column that names a row (input.key).",
    "labels": "How labels are asked for; after a run, the calls beyond the first it took, and the rows that have none.",
    "lanes": "Of estimate: of a job with two lanes, where between the two costs it ends.",
    "left": "What is known to remain: rows begun and not done, and whether there is input that was not looked at.",
    "left out": "Of run: rows that need work and that --only left out.",
    "limits": "Of check: the limits of the job, then those of single models.",
    "missing": "Of status: files of the folder that are lost or cannot be read, so that figures are told without them.",
    "model": "Provider, model and lane that rows are asked with.",
    "models": "Provider, models and lane that rows are asked with: each row is asked of each model.",
    "now": "Of status: what the run at work is doing, how fast, and what it waits for.",
    "off-peak": "Of cost: what the calls would have cost more in the dearest hours of their price list. Of estimate: "
    "what the same calls cost in the cheapest hour of the coming week, if not this one.",
    "old ledger": "Of rebuild: where the old ledger was put, or what was wrong with it.",
    "one row": "Of run: the command that tells all of one row.",
    "only at": "Of prices: the hosts a line is for, where a provider bills otherwise at another address.",
    "output": "Of check: the output folder, what is in it, and the size of its parts.",
    "paid for nothing": "Of cost: answers that are no part of what stands in the table: failed, retried, re-asked or "
    "duplicate.",
    "parameters": "Of check: what is sent with each request besides the messages.",
    "price": "Of check and prices: what a million tokens cost, by length, tier and hour, and which line says so.",
    "prompt tokens": "Of estimate: tokens that the next run will send, those of tools and label schemas included.",
    "prompts": "The names of the prompts in prompt.variants: each row is asked with each.",
    "provider": "Of prices: whose price it is, as model.provider names them.",
    "rests on": "Of estimate: what the ranges rest on: answers to rows of this job, answers that earlier jobs had of "
    "the model, or a guess; and how often such ranges hold.",
    "results": "Of labels --by variant: the rows of the table, of which each row of the input has one a variant.",
    "rows": "Rows that this run has settled, ok and failed. In brackets, why they were asked.",
    "run": "The name of the run: when it began, and four digits that tell it from another of the same moment.",
    "sample": "Of estimate: the rows that --sample bought before the estimate was made.",
    "samples": "Of status: rows that labels.samples was raised for, and that were asked for the missing samples alone.",
    "sent": "Of show: when the first call of the row left.",
    "settled": "Of show: when the answer, or the final failure, was safe in the ledger.",
    "shard": "Of check: which part of the rows, limits and budgets --shard names.",
    "shared": "Rows not asked because another row of the run asks the same; deduplicated_from names that one.",
    "size": "Of check: how many tokens the first request is, about.",
    "source": "Of prices: where a line was published, and the day on which it was last compared with that.",
    "stands in": "Of prices: the price book, or the price file and its line.",
    "started": "Of status: when the last run began and ended.",
    "stopped by": "Of status: the error that ended the run.",
    "table": "Rows of the table now, those of earlier runs included, and where its files lie.",
    "then user": "Of check: what is asked next in the same conversation (prompt.turns).",
    "time": "Of run: how long this command took, and rows per second. Of estimate: how long the run takes, and the "
    "limit that says so.",
    "to ask": "Of rebuild: rows without an answer that the next run asks, if the input still has them. Of estimate: "
    "rows that the next run sends, by why, and those that it leaves alone.",
    "tokens": "Tokens as the provider counted them. cached is part of prompt, reasoning part of completion.",
    "tools": "Of check: the tools that the model will see.",
    "under way": "Of estimate: rows whose calls the provider has taken already, in tasks and batches. The next run "
    "collects them, and buys none of them again.",
    "unknown": "The most that calls can have cost whose tokens are not known, and of how many nothing can be said.",
    "unknown calls": "Of cost: calls whose cost nobody knows here, and the most that they can have cost.",
    "unpublished": "Of cost: calls that the ledger of a run at work has, and that are not in OUT/calls yet. They are "
    "in the sums.",
    "valid": "Of labels: how many rows have a valid label, as a share of all. Of prices: since when a line counts and "
    "until when, in which zone.",
    "variants": "Of check: how many results each row gets. Of run: the command that compares them.",
    "without a row": "Of cost: answered calls whose row is in no table: it is under way, or it was pruned. They are in "
    "the sums.",
}
"""By the name in front of a line of run, check, estimate, status, show, cost, prune and rebuild: what it tells."""

PHRASES: Final[dict[str, str]] = {
    "for good": "Of failed rows: not asked again until what is asked changes, or with --retry all.",
    "worth another try": "Of failed rows: they failed for a passing reason, and the next run asks them again.",
    "short of samples": "Of rows: asked less often than labels.samples says now, so they get the missing samples.",
    "possibly billed": "Of calls: sent and never answered, so only the provider knows whether they cost something.",
    "in doubt": "Of calls: sent when the process was killed. Whether they were answered and billed is not known, so "
    "they are booked as unknown.",
    "left alone": "Of rows: they need no work in this run, and nothing was sent for them.",
    "answered before": "Of rows: an earlier run answered what is asked now.",
    "failed for good before": "Of rows: they failed for good in an earlier run, and what is asked has not changed.",
    "left out by --only": "Of rows: they need work of a kind that --only did not name.",
    "begun by an earlier run": "Of rows: an earlier run, which did not end, had already admitted them.",
    "known to remain": "Of rows: admitted by a run that ended before they were done; the next run goes on with them.",
    "not looked at": "Of the input: the run ended before it came there, so what needs work in it is not known.",
    "to be tried again": "Of rows: their last attempt failed for a passing reason, and they wait for the next one.",
    "at most": "Of calls whose tokens are not known: the most they can have cost, every byte of the request taken for "
    "a token and max_tokens for the answer. The bill is no higher than cost and this together.",
    "in flight": "Of calls: sent and not answered yet, accepted tasks included until the run is stopped.",
    "settled before this command": "Of rows: an earlier command of the same run had done them.",
    "not in the table yet": "Of show: the row is done, and its part of the table is not written yet.",
    "not asked by the last run": "Of compare: the table has answers of this variant, and the job asks it no more.",
}
"""Turns of phrase of the commands: what each says."""
