"""The same orders with dlt as its documentation recommends: rest_api, an incremental cursor, merge on the primary key,
child tables. Runs in an environment of its own: python dlt_orders.py PAGES DATABASE FOLDER"""

import sys
from datetime import UTC, datetime, timedelta

import dlt
from dlt.sources.rest_api import rest_api_source


def main(pages: str, database: str, folder: str) -> None:
    start = (datetime.now(UTC) - timedelta(days=90)).strftime("%Y-%m-%dT00:00:00.000Z")
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{pages}/sell/fulfillment/v1/",
                "auth": {"type": "bearer", "token": "bench"},
                "paginator": {"type": "json_link", "next_url_path": "next"},
            },
            "resource_defaults": {"primary_key": "orderId", "write_disposition": "merge", "parallelized": True},
            "resources": [
                {
                    "name": "orders",
                    "endpoint": {
                        "path": "order",
                        "data_selector": "orders",
                        "params": {"limit": 200, "filter": "lastmodifieddate:[{incremental.start_value}..]"},
                        "incremental": {"cursor_path": "lastModifiedDate", "initial_value": start},
                    },
                }
            ],
        }
    )
    destination = dlt.destinations.postgres(database)
    pipeline = dlt.pipeline("bench", destination=destination, dataset_name="dlt_bench", pipelines_dir=folder)
    pipeline.run(source).raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:])
