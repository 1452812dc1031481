"""Calls Fondy's official SDK as told on standard input, a line of JSON for each call, and says on
standard output what the SDK returned or raised. It decides nothing: tests/it/official_client.rs does.
"""

import json
import sys

from cloudipsp import Api, Order, exceptions, helpers


def call(told):
    api = Api(
        merchant_id=told["merchant_id"],
        secret_key=told["secret"],
        request_type=told["request_type"],
    )
    api.api_url = told["api_url"]
    try:
        answer = getattr(Order(api=api), told["method"])(told["data"])
    except exceptions.ResponseError as error:
        return {"refused": error.response}
    except exceptions.ServiceError as error:
        return {"failed": str(error)}
    result = {"answer": answer}
    # Both take the signature out of what they are given.
    if "signature" in answer:
        result["valid"] = helpers.is_valid(dict(answer), told["secret"], api.api_protocol)
    if result.get("valid") and "order_status" in answer:
        result["approved"] = helpers.is_approved(dict(answer), told["secret"], api.api_protocol)
    return result


for line in sys.stdin:
    print(json.dumps(call(json.loads(line))), flush=True)
