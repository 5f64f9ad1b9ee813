"""The vendors, one line each. A new one is a file beside this and a line in the table."""

from telephony_router.vendors.base import Vendor
from telephony_router.vendors.bonvoice import Bonvoice
from telephony_router.vendors.exotel import Exotel
from telephony_router.vendors.freeswitch import FreeSwitch
from telephony_router.vendors.generic import Generic
from telephony_router.vendors.kamailio import Kamailio
from telephony_router.vendors.knowlarity import Knowlarity
from telephony_router.vendors.myoperator import MyOperator
from telephony_router.vendors.plivo import Plivo
from telephony_router.vendors.smartflo import Smartflo
from telephony_router.vendors.telnyx import Telnyx
from telephony_router.vendors.twilio import Twilio
from telephony_router.vendors.vonage import Vonage

__all__ = ["VENDORS"]

VENDORS: dict[str, Vendor] = {
    "generic": Generic(),
    "twilio": Twilio(),
    "exotel": Exotel(),
    "bonvoice": Bonvoice(),
    "plivo": Plivo(),
    "myoperator": MyOperator(),
    "smartflo": Smartflo(),
    "knowlarity": Knowlarity(),
    "telnyx": Telnyx(),
    "vonage": Vonage(),
    "freeswitch": FreeSwitch(),
    "kamailio": Kamailio(),
}
