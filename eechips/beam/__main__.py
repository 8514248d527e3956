"""Fetch units that arrive through Pub/Sub, and publish their outcomes: ``python -m eechips.beam``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eechips.errors import EechipsError, UsageError

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.command("eechips.beam", context_settings=_HELP)
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("pipeline_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS OF BEAM]")
@click.option("-p", "parameters", multiple=True, metavar="NAME=VALUE", help="Value for a parameter of get_result.")
@click.option("--input-topic", metavar="TOPIC", help="Where units come from: projects/P/topics/T.")
@click.option("--input-subscription", metavar="NAME", help="Or: projects/P/subscriptions/S, which keeps what it has.")
@click.option("--output-topic", required=True, metavar="TOPIC", help="For what became of them.")
@click.option("--failures-topic", metavar="TOPIC", help="For those that failed. [default: the output topic]")
@click.option("--out", required=True, metavar="DIR|URL", help="For the results: a folder, or gs://bucket/folder.")
@click.option("--window", type=float, default=60.0, show_default=True, metavar="S", help="Length of a window.")
@click.option("--project", envvar="EECHIPS_PROJECT", show_envvar=True, help="Project whose Earth Engine quota is used.")
@click.option("--endpoint", metavar="URL", help="Service to ask; Earth Engine's high-volume endpoint by default.")
@click.option("--credentials", metavar="FILE", help="Key of a service account, where the workers are.")
@click.option("--in-flight", type=click.IntRange(1), default=40, show_default=True, help="Requests in flight at most.")
@click.option("--rate", type=float, default=100.0, show_default=True, help="Requests a second at most.")
@click.option("--name", metavar="TEMPLATE", help="Names of the results.")
@click.option(
    "--max-minutes", type=float, metavar="N", help="Stop after N minutes. By default it runs until it is stopped."
)
def main(
    recipe: Path,
    pipeline_options: tuple[str, ...],
    parameters: tuple[str, ...],
    input_topic: str | None,
    input_subscription: str | None,
    output_topic: str,
    failures_topic: str | None,
    window: float,
    max_minutes: float | None,
    **options: Any,
) -> None:
    """Fetch units that arrive through Pub/Sub until the pipeline is stopped, and publish their outcomes.

    \b
    Examples:
      python -m eechips.beam recipes/sentinel2_evi.py --project my-project --out gs://bucket/evi \\
        --input-subscription projects/my-project/subscriptions/images --output-topic projects/my-project/topics/evi \\
        -- --runner=DataflowRunner --region=us-central1 --temp_location=gs://bucket/tmp
    """
    from eechips.beam import FetchUnits

    texts = dict(text.partition("=")[::2] for text in parameters)
    try:
        if (input_topic is None) == (input_subscription is None):
            raise UsageError("units come from --input-topic or from --input-subscription: give one of them")
        fetch = FetchUnits(recipe, parameters=texts, **options)
        from eechips.beam.broker import Topics, stream

        topics = Topics(input_topic, input_subscription, output_topic, failures_topic or output_topic)
        stream(fetch, topics, window, pipeline_options, max_minutes)
    except EechipsError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
