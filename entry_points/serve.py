"""Serves a registered model over HTTP, follows its alias, and logs every decision."""

import click

from entry_points.terminal import optional, run
from rlbake.application import load_application
from rlbake.serving.serve import serve
from rlbake.serving.settings import AT_LEAST_ONCE, Settings


@click.command(help=__doc__)
@click.option(
    "--application", default="rlbake.scenarios.cartpole:CartPole", help="package.module:Class or path/to/file.py:Class."
)
@click.option("--tables", default="tables", help="Folder or object storage URI that holds the tables.")
@optional("--model", "Model URI, whose alias is followed; the champion of main.rl.<application> if not given.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for every network.")
@click.option("--port", type=int, default=8080, help="0 for a free one.")
@click.option("--workers", type=int, default=1, help="Processes.")
@optional("--log", "URI of the experience log; experience beside the application's tables if not given.")
@optional("--spool", "Folder on this machine for what is not in the log yet; the log's own choice if not given.")
@click.option("--durability", default=AT_LEAST_ONCE, help="at_least_once waits for the log, at_most_once does not.")
@optional("--features", "URI of a Delta or Parquet table of keys and features, so that clients may send keys alone.")
@optional("--fallback", "rules, random or an action, for when the model cannot decide; rules or random if not given.")
@click.option("--budget_ms", type=float, default=1000.0, help="The model's time for a request; 0: all it takes.")
@click.option("--refresh_s", type=float, default=5.0, help="How often alias and features are looked at.")
@click.option("--explore", type=bool, default=True, help="Draw actions as the agent explores, instead of greedily.")
@click.option("--temperature", type=float, default=0.0, help="Of the softmax over action values; 0: none.")
@click.option("--epsilon", type=float, default=-1.0, help="Share of uniform actions instead; -1: the agent's own.")
@click.option("--floor", type=float, default=0.0, help="Least probability of every allowed action.")
@click.option("--max_rows", type=int, default=1000, help="Of one request.")
@click.option("--max_bytes", type=int, default=2**20, help="Of one request's body.")
@click.option("--cors", default="", help="Origins whose pages may call, joined by commas; none if not given.")
def command(
    application: str, tables: str, model: str | None, log: str | None, cors: str, **options: str | float | None
) -> None:
    loaded = load_application(application, tables)
    settings = Settings(
        application=application,
        tables=tables,
        model=model or f"models:/main.rl.{loaded.name}@champion",
        log=log or f"{loaded.tables}/{loaded.name}/experience",
        cors=tuple(filter(None, cors.split(","))),
        **options,  # type: ignore[arg-type] # click has read them by their types
    )
    serve(settings)


if __name__ == "__main__":
    run(command)
