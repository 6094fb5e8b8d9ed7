"""What `--help` says, an example with each command. A "\\b" line keeps the line breaks of what follows."""

ROOT = """Durable, event-sourced actors on NATS JetStream.

\b
Start a pool, then talk to its actors:
  aether dev bank:model
  aether call account alice deposit amount=10
  aether state account alice
  aether history account alice

A key or value that begins with - goes after --: aether state -- account -x

Exit codes: 0 done, 1 rejected or failed in the actor, 2 bad input, 3 unavailable, overloaded or past the deadline,
4 configuration, 74 done and the output cannot be written, 130 interrupted, 141 stdout was closed.
"""

RUN = """Run a pool of workers for a model, until it is stopped.

\b
  aether run bank:model --workers 2
  aether run bank:model --nats nats://10.0.0.5:4222 --replicas 3
  aether run bank:model --reload

MODEL is module:name, found from the current directory. Without --nats and AETHER_NATS_URL it brings its own NATS
server, with its data in .aether/, every message on disk before it is acknowledged.

\b
Signals: TERM or INT drains, HUP restarts the workers one by one with fresh code,
TTIN and TTOU add and remove a worker, USR1 dumps all stacks.

Exit codes: 0 drained, 1 killed before it had drained, 3 cannot boot, 4 configuration, 5 the disk has failed a sync.
"""

DEV = """Run a pool for development: workers, HTTP and the dashboard, and what is saved is loaded.

\b
  aether dev bank:model
  aether dev bank:model --http 127.0.0.1:9000

It is `aether run` with --reload and --http: its own NATS server with its data in .aether/, two workers, the HTTP
gateway and its dashboard, whose address it prints. When a source file is saved, the workers and the gateway are
replaced one after the other; code that does not load is shown and changes nothing. The log of all processes is on
standard error. The dashboard needs the extra gateway: pip install 'aether-actors[gateway]'.

Signals and exit codes are those of aether run.
"""

GATEWAY = """Serve the actors of a running pool over HTTP, until it is stopped.

\b
  aether gateway bank:model
  aether gateway bank:model --http 0.0.0.0:8080 --http-tokens tokens
  curl -X POST http://127.0.0.1:8080/actors/account/alice/deposit \\
    -H 'Content-Type: application/json' -d '{"amount": 10}'

It needs the extra gateway: pip install 'aether-actors[gateway]'. Commands, queries, states, histories, keys and live
events are below /actors and /events; /docs lists them, /openapi.json and /asyncapi.json describe them. It listens at
the loopback; where others can reach it, it needs --http-tokens or --http-authorize. Several gateways beside each other
need nothing of each other. aether run --http starts one beside the workers.

Exit codes: 0 drained, 3 the pool cannot be reached, 4 configuration.
"""

INIT = """Make a project in a new directory: a model with a test, a Procfile and what pip and pytest need.

\b
  aether init bank
  cd bank
  pip install -e '.[dev]'
  pytest
  aether dev bank.model:model
"""

CALL = """Send a command or query to an actor and print its reply as JSON.

\b
  aether call account alice deposit amount=10
  aether call order 4711 place --json '{"lines": [{"item": "tea", "count": 2}]}'
  echo '{"amount": 10}' | aether call account alice deposit --json -

Values are read by the argument's type: a string stays as it is typed (007 stays "007"), as do decimals, dates, UUIDs
and enumerations; numbers, true, false, null, arrays and objects are JSON. Where a type leaves a choice ("int or
string") JSON comes first; --json says exactly what is meant.

Exit codes: 0 answered, 1 rejected or failed in the actor, 2 bad input, 3 unavailable, overloaded or past the deadline,
4 configuration.
"""

STATE = """Print an actor's state as JSON: id, version, state. An actor never used has version 0.

\b
  aether state account alice
  aether state account alice --version 17
"""

HISTORY = """Print an actor's events: a table on a terminal, else one JSON CloudEvent a line.

\b
  aether history account alice
  aether history account alice --after 100 | jq .data
  aether history account alice --json
"""

LS = """List the keys of all actors of a kind that have a history, one per line, in no particular order.

With --json: one JSON object per line, whatever characters a key has.

\b
  aether ls account
  aether ls account --json | jq -r .key | wc -l
"""

TAIL = """Print events as they are stored, until it is interrupted.

A line of text for each on a terminal, else one JSON CloudEvent a line.

\b
  aether tail
  aether tail account alice
  aether tail --type Deposited --type Withdrawn
  aether tail account | jq .data

It begins with what is stored from now on; aether history has what was before. Nothing in between is missed when the
connection is lost and comes back. An interrupt ends it with exit code 0.
"""

TRACE = """Print what the commands of one correlation id did, across actors: a tree, one step a line.

Commands with their events, the tells, tasks and schedules that they sent, and what came of those. Lines of text on a
terminal, else one JSON object a line.

\b
  aether trace order-7
  aether trace order-7 --since 2h
  aether trace order-7 --since 2026-01-31T12:00:00Z --limit 50000
  aether trace order-7 | jq .name

There is no index of ids: the commits of all actors since then are read and searched, from the oldest on. So a trace of
long ago needs a --since near to it. A commit that cannot be read is a step, "unreadable"; the exit code is 1 then.
"""

PS = """List the workers of a pool: a table on a terminal, else one JSON object per line.

With --shards: who holds each shard, who should (the two differ while it moves), and the epoch of its lease.

\b
  aether ps
  aether ps --shards
  aether ps --json | jq .pid
"""

TOP = """Show what a pool does, each second anew: commands per second and how long they take, failures, workers.

On a terminal it draws over the screen, until an interrupt, which ends it with exit code 0. In a pipe each reading is
one JSON object a line, with every command.

\b
  aether top
  aether top --once                 # one reading, over one second
  aether top --json | jq '.commands[] | select(.failed_per_s > 0)'
  aether top | jq --unbuffered .per_s

Times are estimated from histograms: half of the commands took at most p50, 95 in 100 at most p95.
"""

RELOAD = """Restart the workers of this directory's pool with fresh code, one by one.

\b
  aether reload
  aether reload --namespace bank --data-dir /var/lib/bank

It signals (HUP) the supervisor that was started with this data directory, on this machine, and no other process. It
does not wait: the supervisor's log and aether ps say how it goes. Code that does not load changes nothing.
"""

STOP = """Drain this directory's pool and end it.

\b
  aether stop
  aether stop --timeout 0           # do not wait

It signals (TERM) the supervisor that was started with this data directory, on this machine, and no other process, and
waits until it has ended. Exits 3 when it has not.
"""

REPAIR = """Change the settings of a namespace's streams and buckets that are not as Aether needs them.

Workers refuse such a namespace and never change it. Each setting that was wrong is printed as one JSON object per line.
Exits 1 when something cannot be changed: that stream or bucket has to be made anew.

\b
  aether repair --namespace bank --dry-run
  aether repair --namespace bank
"""

SHOW = """Show a model's actors with their commands, queries, events and state as a tree.

\b
  aether model show bank:model
  aether model show                 # of the running pool
"""

SCHEMA = """Print a model's JSON Schema: every command, reply, event and state.

\b
  aether model schema bank:model
  aether model schema | jq .actors  # of the running pool
"""

CHECK = """Read stored histories with a model: whether its workers will be able to. Run it before a deployment.

\b
  aether model check bank:model
  aether model check bank:model --all

Every event of 100 actors of each kind, chosen at random, is decoded, upcast and applied by this model's code, in this
process: nothing is stored, and no worker is asked. One line per kind, event type and schema version says how many
events were read, how many of them failed, and the first reason. --all reads every history. Of all schedules that wait
it is looked up whether the model has their commands and takes their arguments: the lines "(schedules)".

Exit codes: 0 everything can be read, 1 something cannot, 3 unavailable, 4 configuration, or a model that does not load.
"""

DRAW = """Draw a model's event-storming board as SVG: commands, queries, actors with their state, events.

\b
  aether model draw bank:model -o bank.svg
  aether model draw -o bank.svg  # of the running pool
"""

INBOX_LS = """List what waits in the inbox, actor by actor, and dead letters: tells that failed too often.

\b
  aether inbox ls
  aether inbox ls account alice
  aether inbox ls --dead --json | jq .id

What waits is what the workers say: how many tells, the first one, how often it has failed and why the last time. What
fails comes first. A table on a terminal, else one JSON object per line.
"""

INBOX_SHOW = """Show one dead letter with its arguments and its error, as JSON; or what waits first at an actor.

\b
  aether inbox show 4711
"""

INBOX_RETRY = """Send a dead letter again to the same actor, or all of them. Mend the cause first.

\b
  aether inbox retry 4711
  aether inbox retry --all
  aether inbox retry --all --kind account --limit 10

It is one effect for each dead letter, though several do it at once. The new command's id is retry:ID; when it fails too
often again, it is another dead letter. With --all it says how many were sent, and exits 1 when some could not be;
--timeout bounds each of them.
"""

INBOX_DROP = """Take a dead letter out of the list. The actor's history keeps it.

\b
  aether inbox drop 4711
"""

INBOX_GIVE_UP = """Make dead letters of what waits for an actor, without another try: they hold up no other tells then.

\b
  aether inbox give-up account alice
  aether inbox give-up account alice --until 4711   # only up to this one

Dead letters can be sent again or dropped. Those that come meanwhile, and those that the owner has not read yet because
too many wait, are not given up: ask again. What the actor has in hand just now may yet be applied. It needs a worker,
which keeps the wish in memory only: where that ends or loses the shard at once, the rest waits on at the next owner.

Exit codes: 0 they are given up, 2 nothing waits for the actor, or bad input, 3 unavailable.
"""

INBOX_PURGE = """Say how large the inbox is, how much of it no worker needs any more, and what keeps the rest.

\b
  aether inbox purge --dry-run
  aether inbox purge --dry-run --json --limit 5

Nothing is removed: workers do that by themselves, four minutes after it is needed no more, unless AETHER_INBOX_PURGE is
false. Each line is what is needed from a sequence on, the lowest first, with how many messages are before it. A table
on a terminal; else one JSON object per line, the first one of the whole stream.
"""

SHOW_SNAPSHOT = """Show of which version an actor's snapshot is, and how large.

\b
  aether snapshots show account alice
  aether snapshots show account alice --model bank:model  # can this code use it?

With --model, `usable` is false where workers with that model ignore the snapshot and read the history from its start.

Exit codes: 0 there is one, 1 there is none, 2 bad input, 3 unavailable, 4 configuration.
"""

SCHEDULES_LS = """List the schedules whose next tick is waited for, the next one first.

\b
  aether schedules ls
  aether schedules ls booking
  aether schedules ls booking b1 --json | jq .next

A tick that is due and not run yet is in the inbox: aether inbox ls. A table on a terminal, else one JSON object per
line.
"""

SCHEDULES_CANCEL = """Cancel a schedule that an actor has set: it has no further ticks.

\b
  aether schedules cancel booking b1 expiry

The actor itself ends it, so the pool has to run; the kind may be one that the model does not have any more. A tick that
is due and not run yet is not run. What the actor has told another one for a tick before is run. aether schedules ls may
show the schedule for a moment longer.

Exit codes: 0 it is cancelled, and that is on the disk; 2 the actor has no such schedule, or bad input, 3 unavailable.
"""

TASKS_LS = """Count the tasks of each name: those that wait for a worker, and those that are taken. Or list what failed.

\b
  aether tasks ls
  aether tasks ls --failed
  aether tasks ls --failed --json | jq -r .id

Taken are those that run and those that have failed and wait to be tried again. What has failed is listed for a week: in
the state waits until it is done, given up when its actor has been told.
"""

TASKS_SHOW = """Show a task that has failed, as JSON: its actor, its attempts, its last error, when it is tried again.

\b
  aether tasks show 5f0e7d0c-1f5f-5f5e-9c7a-1d2f9d2a3b4c
"""

TASKS_RETRY = """Try a task that has failed and waits for its next attempt again now.

\b
  aether tasks retry 5f0e7d0c-1f5f-5f5e-9c7a-1d2f9d2a3b4c
"""

TASKS_CANCEL = """Stop a task, whether it waits, runs or has failed: its actor is told TaskFailed, type TaskCancelled.

\b
  aether tasks cancel 5f0e7d0c-1f5f-5f5e-9c7a-1d2f9d2a3b4c

A task that is done is let be as long as its start is in the inbox. One that is given up or not known is bad input:
exit code 2.
"""

DROP_SNAPSHOTS = """Remove the snapshots of all actors of a kind, or of one actor.

Their histories are read from the start next time.

\b
  aether snapshots drop account
  aether snapshots drop account alice

Snapshots of code that folds otherwise are ignored by themselves, but for what Aether cannot see (docs/guarantees.md).
An actor that a worker has in memory keeps its state and is snapshotted again, at the latest when the worker drains. So
stop the pool first; its server must go on, which the embedded one does not. `snapshot_version` on the actor, which is
raised with the code, needs no stop.
"""
