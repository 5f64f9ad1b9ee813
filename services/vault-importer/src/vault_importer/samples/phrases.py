"""What people in the samples write: the trade of a wholesaler in Kochi and Mumbai, in three languages, each Indian
one in its own script and in Latin letters. ``{…}`` are filled in by the generator."""

from __future__ import annotations

__all__ = ["COMPANIES", "GROUPS", "ITEMS", "NAMES", "PHRASES", "PLACES"]

PHRASES: tuple[str, ...] = (
    # English
    "Good morning, is the {item} in stock?",
    "Please send the quotation for {count} pieces of {item}.",
    "Price is Rs {price} per box, GST extra.",
    "We can do ₹{price} if you take {count} boxes.",
    "Total comes to Rs. {price}/- including freight.",
    "Payment of ₹{price} done by NEFT, please check.",
    "Invoice received, thank you.",
    "Last year it was {lakh} lakh, this year less.",
    "Budget is around Rs {lakh} lakh for the whole order.",
    "Delivery by Friday at the {place} godown?",
    "Driver is on the way, will reach {place} by evening.",
    "Call me when you are free.",
    "Ok noted.",
    "Can you share the test certificate for {item}?",
    "Sample approved 👍",
    "Please confirm {count} nos of {item} today.",
    # Malayalam in its own script
    "സാധനം എത്തിയോ? {item} {count} എണ്ണം വേണം.",
    "നാളെ രാവിലെ {place} ഗോഡൗണിൽ എത്തിക്കാം.",
    "വില ₹{price} ആണ്, ജിഎസ്ടി വേറെ.",
    "ബിൽ അയച്ചിട്ടുണ്ട്, നോക്കിയിട്ട് പറയൂ.",
    "ശരി ചേട്ടാ, പണം ഇന്ന് അയക്കാം.",
    # Malayalam in Latin letters
    "Chetta, {item} stock undo?",
    "Rate Rs {price} aanu, {count} box edukkumo?",
    "Naale ravile {place} il ethikkam.",
    "Bill ayachittundu, nokkiyittu parayu.",
    "Sheri, paisa innu ayakkam.",
    # Hindi in its own script
    "भाई साहब, {item} का रेट क्या है?",
    "{count} पेटी भेज दीजिए, पता {place} का है।",
    "₹{price} में पक्का कर दीजिए।",
    "पेमेंट कल तक हो जाएगा।",
    "माल मिल गया, धन्यवाद।",
    # Hindi in Latin letters
    "Bhaiya {item} ka rate batao.",
    "{count} peti bhej do, {place} wale godown pe.",
    "Rs {price} final kar do.",
    "Payment kal tak ho jayega.",
    "Maal mil gaya, dhanyavaad.",
)

COMPANIES: tuple[str, ...] = (
    "Coastal Traders",
    "Periyar Agencies",
    "Backwater Supplies",
    "Harbour Electricals",
    "Sahyadri Hardware",
    "Gateway Tools",
    "Marine Drive Stores",
    "Deccan Fittings",
)
NAMES: tuple[str, ...] = (
    "Purchase",
    "Stores",
    "Accounts",
    "Dispatch",
    "Sales",
    "Office",
    "Godown",
    "Site",
    "Workshop",
    "Service",
)
GROUPS: tuple[str, ...] = ("Kochi dispatch", "Mumbai orders", "Dealers south", "Accounts team", "Drivers")
ITEMS: tuple[str, ...] = ("copper cable", "LED panel", "PVC pipe", "switch board", "distribution box", "ball valve")
PLACES: tuple[str, ...] = ("Kakkanad", "Edappally", "Kaloor", "Andheri", "Bhiwandi", "Dadar")
