"""The console command ``flisr``.

Each subcommand is imported when it is called, so that none pays for another's libraries.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from cyclopts import App

app = App(
    name="flisr",
    help="IEC 61850 / 60870-5-104 gateway with distributed-FLISR agents.",
    version=lambda: f"flisr {version('flisr')}",
)
app.command("tools.demo.command:app", name="demo")
app.command("tools.run_command:run", name="run")
app.command("tools.run_command:check", name="check")
app.command("tools.status_command:status", name="status")
app.command("tools.site_command:app", name="site")
app.command("tools.scl_command:app", name="scl")
app.command("tools.agent_command:app", name="agent")
app.command("tools.mms_command:app", name="mms")
app.command("tools.points_command:points", name="points")
app.command("tools.iec104_command:app", name="104")
app.command("tools.events_command:events", name="events")
app.command("tools.doctor:doctor", name="doctor")
app.command("tools.commission:commission", name="commission")
app.command("tools.campaign.command:app", name="campaign")
app.command("tools.shadow.command:app", name="shadow")
app.command("tools.model_check.command:app", name="check-protocol")
app.command("tools.mutants.command:app", name="mutants")
bench = App(name="bench", help="Measurements, each beside its peer or its target.")
bench.command("tools.bench_healing:healing", name="healing")
bench.command("tools.bench_goose:run", name="goose")
bench.command("tools.bench_reaction:reaction", name="reaction")
bench.command("tools.bench_kill:kill", name="kill")
bench.command("tools.bench_size:size", name="size")
bench.command("tools.bench_machine:machine", name="machine")
bench.command("tools.bench_iec104:run", name="104")
bench.command("tools.bench_gateway:run", name="gateway")
bench.command("tools.bench_history:run", name="history")
bench.command("tools.bench_closed:closed", name="closed")
bench.command("tools.bench_loss:loss", name="loss")
app.command(bench)
fuzz = App(name="fuzz", help="Mutated input, by seed: every octet string gives a value or a located error.")
fuzz.command("tools.fuzz_goose:run", name="goose")
fuzz.command("tools.fuzz_scl:app", name="scl")
fuzz.command("tools.fuzz_iec104:run", name="104")
app.command(fuzz)

_OUR_PACKAGES = ("scl", "ied_agents", "gateway", "tools")


def main() -> None:
    """Run the command line of this process.

    An error that one of our packages defines, or the operating system reports, is a message to the user: one
    line and exit status 2. Anything else is a defect and shows where it came from.
    """
    try:
        app(sys.argv[1:])
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _OUR_PACKAGES and not isinstance(error, OSError):
            raise
        print(f"flisr: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
