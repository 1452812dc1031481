# send.py FILE, with AMQP_URL in the environment: the notice in the file as a producer sends it that writes its events
# with the CloudEvents SDK, and knows nothing of ours.
import json, os, sys
import pika
from cloudevents.core.bindings import rabbitmq
from cloudevents.core.v1.event import CloudEvent

notice = json.load(open(sys.argv[1]))
# Its id, its time and the version it sees to itself; an extension is whatever a shop has of its own.
attributes = {"type": notice["type"], "source": notice["source"], "datacontenttype": "application/json", "tenant": "berlin"}
event = CloudEvent(attributes, notice["data"])
message = rabbitmq.to_structured_event(event)
connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()
properties = pika.BasicProperties(content_type=message.content_type, headers=message.headers, delivery_mode=2)
channel.basic_publish("orders", event.get_type(), message.body, properties, mandatory=True)
connection.close()
print(event.get_id())
