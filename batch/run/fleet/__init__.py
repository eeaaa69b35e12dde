"""A fleet: several worker processes that make the exchanges of one run, which a core owns.

**Who owns what.** The core is the process of the command. It owns the lock, the ledger, the plan, the rows and their
conversations, the limits, the budget, the tools and publishing; it is the same code whether it has workers or not. A
worker owns nothing that must survive: it is handed requests that are written and may leave, makes the exchanges (TLS,
HTTP, the pieces of streams put together), reads the answers, and reports what they say. With one worker there is no
other process: the core makes the exchanges with the same `http.client` and reads them with the same dialect that a
worker has, and nothing stands in between.

**The seam** is `http.client.Client.exchange`, from a request to its answer, for which `remote` has a client of its own:
its answers have been read (`core.readanswer`). `messages` has what goes over it:
- *intend* is a commit and no message: a call gets its number, its id and its slot in the core, and is handed to a
  worker only when its `sent` record is durable and the limits have let it depart. So no worker can send what is not in
  the book.
- `Take`, core to worker: errands, each with the moment in which it departed. An errand is a slice of every limit that
  is one call large, and it is good for `VALID_S`: a worker that comes to it later does not send it and says so. In all
  windows of a minute that costs less than what the pace leaves free, so the limits hold by whatever worker bytes
  leave.
- `Report`, worker to core: what came of errands, a tick's together, and which of them were too old. An answer that
  is one comes as what it says, without its bytes, and each of its texts once; so does a whole stream. A refusal comes
  as bytes, for it tells of keys and limits, and so does everything while a wire log is written. `Alive` says that the
  worker is there when it has nothing else to say. `Cancel` takes an errand back, `Leave` ends a worker.

How a worker is started and spoken with is `transport`'s: its two ends know whether messages are bytes on a socket to a
child of ours (`process`, `line`) or calls to an actor on another machine (`batch.run.ray`), what the core's clock shows
at the far end, by which `Errand.departed_at` is judged, and whether errands bring the key along.

**What it gains.** Of the CPU of a short row, some 150 µs in one process, 20 leave the core and 45 come to the workers:
the line and a loop of its own cost a worker more than they spare the core. The 130 that stay are the bookkeeping of the
loop (50: slots, records, outcomes), its ends of the lines (15), and the threads beside it (65: planning, ledger,
publishing). One interpreter does all of that, so short rows gain a quarter at most, however many workers there are.
Of a stream of 200 pieces, some 450 µs in one process, 275 leave the core: the workers put it together in as much. TLS
and long answers leave it nearly whole, too. `scripts/bench workers` measures it.

**What happens when**
- *a worker is killed between taking an errand and reporting it*: its socket ends; each of its calls is `unknown`, as
  when our own process ends, and its row is asked again by another worker. That attempt counts, so that a row that ends
  every worker ends by itself. The slot stays taken for as long as the longest exchange of the run so far took: the
  provider may not know yet that nobody listens. A new worker is started.
- *a worker is stopped, or hangs*: after `SILENT_S` without a word its epoch is over, and the same happens; it is told
  to leave, but not killed. When it wakes it sends none of its old errands, and reports what it had sent before: an
  answer then is a late one, which is booked as a further record of its call (`-late` behind its id) and changes no
  row. The id of a task that comes so late is saved first, and the task polled until its answer can be booked so; until
  then its row, should a later run ask it again, waits for that answer instead (`lost`).
- *the core is killed*: its workers are killed by the system, and by the end of their socket (or by Ray). All that has
  to be known is in the ledger; the same command goes on. The core itself is stopped and wakes: nobody is taken for
  silent.
- *tasks*: ids are in the ledger of the core, and whoever is free polls; a poll that is lost is made by another worker.
- *streams*: put together where they arrive; the core gets the reply. A broken one is `unknown`, as ever.
- *re-asks, samples, tools, several turns, several models*: rows are of the core, turn by turn; a worker sees one turn.
- *Ctrl-C*: nothing new departs; errands under way are waited for, and the second Ctrl-C takes them back.
- *keys*: what a worker read is masked when it comes to the core, before anybody sees it; a key that a worker found
  itself is masked there first (`answers`).
- *budgets, learned limits, prices, wire log, metrics*: they are of the core, which gets all that they look at; of the
  headers of an answer those come along that tell of its call and of limits.
- *files of batches*, and requests above `LARGEST`: the core sends and reads these itself; they are few and large.
- *workers end as fast as they are started*: after `STARTS` of them in a row without an answer the core goes on alone.
"""
