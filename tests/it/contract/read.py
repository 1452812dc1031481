# Reads events as the CloudEvents SDK does: one message of RabbitMQ for each line in, one event for each line out.
import json, sys
from datetime import timezone
from cloudevents.core.bindings import rabbitmq

for line in sys.stdin:
    told = json.loads(line)
    message = rabbitmq.RabbitMQMessage(headers={}, content_type=told["content_type"], body=told["body"].encode())
    event = rabbitmq.from_rabbitmq_event(message)
    attributes = event.get_attributes()
    attributes["time"] = event.get_time().astimezone(timezone.utc).isoformat(timespec="milliseconds")
    print(json.dumps({**attributes, "data": event.get_data()}), flush=True)
