"""The words beside digits that tell whether they are a telephone number."""

from __future__ import annotations

__all__ = ["CONNECTING", "NAMES_OTHER", "NAMES_PHONE"]


def _words(lines: str) -> frozenset[str]:
    return frozenset(lines.split())


#: Say nothing about the digits; the word before them does.
CONNECTING = _words("""
    no nos num number numbers nr is was are of the my our your his her new old on at to or and dated ka hai aanu
""")

NAMES_PHONE = _words("""
    ph phone phn phones tel telephone mob mobile mobiles cell call calls contact contacts whatsapp wa whats watsapp
    landline office helpline fax dial ring fone vilikku vilikkuka sms msg text mo फोन मोबाइल ഫോൺ മൊബൈൽ
""")

NAMES_OTHER = _words("""
    amt amount rs inr rupees price total paid balance pnr order orders ord inv invoice bill a/c ac acc acct account
    txn transaction utr ref reference rrn id ids awb tracking docket consignment lr challan booking ticket otp imei
    serial sl sr gst gstin fssai aadhaar aadhar adhaar uid uidai hsn policy cif ifsc po so dc eway ewaybill vehicle
    cin token reg registration roll qty model sku batch code sac pan application appl enrolment receipt voucher
    cheque chq dd neft rtgs imps upi isbn ean barcode meter consumer pin card lpg loan folio crn urn arn
""")
