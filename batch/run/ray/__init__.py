"""Workers on Ray: the exchanges of a run are made by actors, spread over the nodes of a cluster.

The seam and all rules are those of `batch.run.fleet`; this is another way to start a worker and to speak with it. The
core stays what it is, the process of the command. An actor could be the core as well, but then lock, ledger and results
would lie wherever Ray had put it, signals and the live line would have to be passed on, and nothing would be gained:
that process has to live either way. So it is best run on a machine with a disk that lasts, such as the head.

- **Which Ray** (`cluster`). `--on ray` starts one on this machine for the command, small and for nobody else. `--on
  ray:HOST:PORT` joins a cluster that this machine is a node of; this is the direct way. `--on ray://HOST:PORT` goes
  through the Ray Client server of a cluster, from anywhere: one hop more, and after a kill the actors stay for the
  half minute in which Ray waits for the client to come back. Asynchronous actors work over all three.
- **A line made of calls** (`calls`, `actor`). Actors take no sockets, so the core calls each of them again and again;
  every call carries messages there and back. Ray repeats no call and restarts no actor: a call that failed may have
  been made, and a worker has an epoch. Who replaces one is the crew.
- **Clocks** (`coretime`). An errand says when it departed, by the clock of the core. A worker knows an upper bound of
  that clock from the calls, measured from its own receipt of them and good for seconds; by it an errand looks older
  than it is, never younger, and without a bound nothing is sent.
- **Keys** (`keys`, `nodes`). No key goes over Ray: not as an environment, not in what an actor is made with, not in a
  call, for all of that is kept in places that many can read. Errands travel without their Authorization header, and
  each worker finds the key, or that of each of several addresses, on its own node as the job says: the variable as it
  was where `ray start` was run, the file at the same path, the command. Before the first run of a command is opened,
  every node is asked whether it has the keys, the same promptmill and the same Python; if one has not, nothing is
  sent.
- **Nothing leaves, nothing stays.** Usage statistics are off. The namespace is the name of the run, actors have no
  names and are not detached, so they end with the command; a Ray of our own ends with it, and its files go. After kill
  -9 the system and Ray do that: actors within seconds, Ray's last helpers within half a minute or so, files with the
  next run.

**What happens when**, beside what `fleet` says:
- *a node is killed, or the network parts it from the core*: calls fail, or nothing is heard for `SILENT_S`; each of
  its workers is lost as any other, and others are started where there is room.
- *a node was killed just before a command starts*: Ray lists it for ten seconds or more; the command waits until Ray
  knows, and goes on without that node.
- *a worker has no key* (a node that came later): it ends as it starts; after some of these the core goes on alone.
- *the core is killed, or the head of the cluster, with it*: as kill -9 of any run. The same command goes on, on the
  same disk, on whatever Ray there is by then, or on none.
"""
