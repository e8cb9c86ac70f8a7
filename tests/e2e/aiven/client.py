"""What migration tools and providers' guides send to aiven_extras, as a role that is no superuser.

Reads from standard input, as JSON: what to play, how (autocommit or inside BEGIN), how to connect to
the source and to the target, and the tables to publish (none for all). Ends with an error where a
client would stumble.
"""

import json
import select
import sys
import time

import psycopg2
import psycopg2.errorcodes
import psycopg2.extensions
from psycopg2.extras import RealDictCursor

DEADLINE = 120.0
ORDER = json.load(sys.stdin)
DATABASE = ORDER["source"]["dbname"]
PUBLICATION = f"migration_{DATABASE}_pub"
SUBSCRIPTION = f"migration_{DATABASE}_sub"
SLOT = f"migration_{DATABASE}_slot"
PUBLISHED_ACTIONS = "INSERT,UPDATE,DELETE,TRUNCATE"


class Server:
    """One end of the migration. Every statement has a connection of its own, as tools have it."""

    def __init__(self, connection, in_transaction):
        self.connection = connection
        self.in_transaction = in_transaction

    def run(self, statement, *values):
        """The rows of a statement, in autocommit or as all that a transaction does."""
        connect = self.connected if self.in_transaction else self.connected_asynchronously
        connection = connect()
        try:
            cursor = connection.cursor(cursor_factory=RealDictCursor)
            cursor.execute(statement, values or None)
            wait(connection)
            rows = cursor.fetchall() if cursor.description else []
            if self.in_transaction:
                connection.commit()
            return rows
        finally:
            connection.close()

    def connected(self):
        return psycopg2.connect(**self.connection)

    def connected_asynchronously(self):
        connection = psycopg2.connect(**self.connection, async_=True)
        wait(connection)
        return connection

    def conninfo(self):
        """For the subscription: keywords with quoted values, in the order of their names."""
        parts = dict(self.connection, application_name=f"migration/{DATABASE}")
        return " ".join(f"{name}='{parts[name]}'" for name in sorted(parts))


def wait(connection):
    if not connection.async_:
        return
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        read = [connection] if state == psycopg2.extensions.POLL_READ else []
        write = [connection] if state == psycopg2.extensions.POLL_WRITE else []
        select.select(read, write, [], DEADLINE)


def poll(what, attempt):
    end = time.monotonic() + DEADLINE
    while not attempt():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)


def create_extension(server):
    """Tools try, and go on without: a superuser may have made it."""
    try:
        server.run("CREATE EXTENSION aiven_extras CASCADE")
    except psycopg2.ProgrammingError:
        pass
    [row] = server.run(
        "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'aiven_extras'"
    )
    return tuple(int(part) for part in row["extversion"].split("."))


def publish(source, tables):
    places = "".join(", %s" for _ in tables)
    function = "pg_create_publication" if tables else "pg_create_publication_for_all_tables"
    source.run(
        f"SELECT 1 FROM aiven_extras.{function}(%s, %s{places})",
        PUBLICATION,
        PUBLISHED_ACTIONS,
        *tables,
    )


def create_slot(source):
    [row] = source.run(
        "SELECT * FROM pg_catalog.pg_create_logical_replication_slot(%s, %s, FALSE)",
        SLOT,
        "pgoutput",
    )
    assert row["slot_name"] == SLOT


def subscribe(source, target):
    target.run(
        "SELECT 1 FROM aiven_extras.pg_create_subscription(%s, %s, %s, %s)",
        SUBSCRIPTION,
        source.conninfo(),
        PUBLICATION,
        SLOT,
    )
    [row] = subscriptions(target)
    assert row["subenabled"] and row["subslotname"] == SLOT, row
    assert source.connection["password"] not in row["subconninfo"], "the password is masked"


def subscriptions(target):
    return target.run(
        "SELECT * FROM aiven_extras.pg_list_all_subscriptions() WHERE subname = %s", SUBSCRIPTION
    )


def lag(source, target):
    """What tools take for the lag: it says nothing of tables that are still being copied."""
    sent = source.run(
        """
        SELECT stat.pid, stat.client_addr, stat.state, stat.sync_state, stat.write_lsn,
               pg_wal_lsn_diff(pg_current_wal_lsn(), stat.write_lsn)::bigint AS lag,
               pg_wal_lsn_diff(sent_lsn, stat.replay_lsn)::bigint AS replay_lag
          FROM aiven_extras.pg_stat_replication stat
          JOIN pg_catalog.pg_replication_slots slot ON (stat.pid = slot.active_pid)
         WHERE slot.slot_name = %s
        """,
        SLOT,
    )
    if not sent or sent[0]["write_lsn"] is None or sent[0]["lag"] > 0:
        return None
    received = target.run(
        """
        SELECT pg_wal_lsn_diff(stat.received_lsn, %s)::bigint AS lag
          FROM pg_catalog.pg_stat_subscription stat WHERE subname = %s
        """,
        sent[0]["write_lsn"],
        SUBSCRIPTION,
    )
    return received[0]["lag"] if received else None


def in_sync(source, target):
    behind = lag(source, target)
    return behind is not None and behind <= 0


def stop(source, target):
    target.run("SELECT * FROM aiven_extras.pg_drop_subscription(%s)", SUBSCRIPTION)
    assert subscriptions(target) == []
    source.run(f"DROP PUBLICATION {PUBLICATION}")
    left = source.run("SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = %s", SLOT)
    assert left == [], "the slot went with the subscription"


def play_tool(source, target, tables):
    """A tool that waits for lag 0 and then stops the replication."""
    source_version, target_version = create_extension(source), create_extension(target)
    assert target_version >= source_version > (1, 1, 18), "tools refuse a target that is older"
    publish(source, tables)
    create_slot(source)
    subscribe(source, target)
    poll("lag 0", lambda: in_sync(source, target))
    stop(source, target)


def play_guide(source, target, tables):
    """A provider's guide: native statements on the source, six arguments on the target."""
    create_extension(target)
    names = ", ".join(tables)
    source.run(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {names}")
    target.run(
        "SELECT * FROM aiven_extras.pg_create_subscription(%s, %s, %s, %s, TRUE, TRUE)",
        SUBSCRIPTION,
        source.conninfo(),
        PUBLICATION,
        SLOT,
    )
    rows = target.run(
        "SELECT subdbid, subname, subowner, subenabled, subslotname "
        "FROM aiven_extras.pg_list_all_subscriptions()"
    )
    # Those of other databases are listed, too.
    [row] = [row for row in rows if row["subname"] == SUBSCRIPTION]
    assert row["subenabled"] and row["subslotname"] == SLOT, row
    stop(source, target)


def play_refused(source, target, tables):
    """Whoever may not publish a table gets the one error that makes tools fall back to a dump."""
    try:
        publish(source, tables)
    except psycopg2.ProgrammingError as error:
        assert error.pgcode == psycopg2.errorcodes.INSUFFICIENT_PRIVILEGE, error
    else:
        raise AssertionError("it was published")


def main():
    plays = {"tool": play_tool, "guide": play_guide, "refused": play_refused}
    source, target = (
        Server(ORDER[end], ORDER["in_transaction"]) for end in ("source", "target")
    )
    plays[ORDER["play"]](source, target, ORDER["tables"])


main()
