"""The vendors whose APIs place calls for us, one line each, and why the others do not."""

from telephony_router.vendors.dialling.base import Dialler
from telephony_router.vendors.dialling.bonvoice import BonvoiceDialler
from telephony_router.vendors.dialling.exotel import ExotelDialler
from telephony_router.vendors.dialling.generic import GenericDialler
from telephony_router.vendors.dialling.plivo import PlivoDialler
from telephony_router.vendors.dialling.twilio import TwilioDialler

__all__ = ["CANNOT_DIAL", "DIALLERS"]

DIALLERS: dict[str, Dialler] = {
    "generic": GenericDialler(),
    "twilio": TwilioDialler(),
    "exotel": ExotelDialler(),
    "bonvoice": BonvoiceDialler(),
    "plivo": PlivoDialler(),
}

NOT_STUDIED = "not built: how its API brings an id of ours back, by which a lost answer is resolved, is not known to us"

CANNOT_DIAL: dict[str, str] = {
    "myoperator": NOT_STUDIED,
    "smartflo": NOT_STUDIED,
    "knowlarity": NOT_STUDIED,
    "telnyx": "a TeXML application answers calls; calls out are Call Control, which the router does not speak",
    "vonage": "calls out need a JWT signed with the application's private key, which accounts do not hold",
    "freeswitch": "its calls are originated on its own event socket, inside the network: use generic beside it",
    "kamailio": "a proxy places no calls of its own: use generic beside it",
}
