"""What the OpenAPI document says of the calls for statistics and workers."""

from app.api.openapi import Operation, answer, problems

STATS = Operation(
    {"200": answer("The figures.", "Statistics"), **problems("invalid-parameters", "store-unavailable")}
)
WORKERS = Operation({"200": answer("All of them.", "WorkerList"), **problems("invalid-parameters")})
