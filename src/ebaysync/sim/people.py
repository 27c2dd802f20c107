"""Buyers, goods and marketplaces that orders are made of: invented, but as awkward as real ones."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Marketplace:
    id: str
    currency: str
    country: str
    service: str
    carrier: str


MARKETPLACES = (
    Marketplace("EBAY_US", "USD", "US", "USPSPriority", "USPS"),
    Marketplace("EBAY_GB", "GBP", "GB", "UK_RoyalMailSecondClassStandard", "Royal Mail"),
    Marketplace("EBAY_DE", "EUR", "DE", "DE_DHLPaket", "DHL"),
    Marketplace("EBAY_IT", "EUR", "IT", "IT_QuickPackage", "Poste Italiane"),
    Marketplace("EBAY_AU", "AUD", "AU", "AU_Regular", "Australia Post"),
    Marketplace("EBAY_FR", "EUR", "FR", "FR_ColiPoste", "La Poste"),
)

# Units of the buyer's currency for one of the seller's: constant, so that an amount can be checked.
RATES = {"USD": 100, "GBP": 76, "EUR": 88, "AUD": 152, "PLN": 375}

NAMES = (
    "Anna Schmidt", "Zoë Müller-Lüdenscheidt", "Łukasz Żółć", "李小龍", "Нина Петрова", "Seán O'Brien",
    "José Ñúñez y Pérez", "محمد العلي", "Emoji 🦄 Kaufmann", 'Robert "Bob" Tables; DROP', "Nguyễn Văn Á",
    "Ángel\u200bZero Width", "A\u0301ccent Combining", "C:\\Users\\Bob", "Maria da Conceição", "Ivy Smith",
)  # fmt: skip

PLACES = (
    ("US", "Springfield", "IL", "62701", "742 Evergreen Terrace", "Apt 3"),
    ("US", "San José", "CA", "95112", "1 S Market St", None),
    ("GB", "Saint-Mary-on-the-Tyne", "Tyne and Wear", "NE1 4ST", "Flat 2, 10 Mews", "Dean Street"),
    ("GB", "London", "default", "SW1A 1AA", "11 Downing Row", None),
    ("DE", "Köln", "Nordrhein-Westfalen", "50667", "Straße der Jugend 5", "3. OG links"),
    ("DE", "Berlin", "default", "10115", "Invalidenstraße 1", None),
    ("IT", "Forlì", "FC", "47121", "Via dell'Università 7", None),
    ("AU", "Wagga Wagga", "NSW", "2650", "5 Fitzmaurice St", None),
    ("FR", "Besançon", "default", "25000", "8 rue de l'Église", "Bâtiment B"),
    ("PL", "Łódź", "default", "90-001", "ul. Piotrkowska 1/2", None),
)

GOODS = (
    ("Vintage Nähmaschine „Pfaff“ 1950er", "PFAFF-50", 21900, False),
    ("Radiator cap 16 psi <OEM>", "17315-S84-A02", 1499, False),
    ("T-Shirt, 100 % cotton", "TSHIRT", 1999, True),
    ("Teapot & cups, set of 6", None, 5973, False),
    ("Trading card – Glurak 4/102 ★", "TCG 4/102", 24598, False),
    ("Running shoes", "SHOE", 8950, True),
    ("USB‑C cable 2m", "CBL-2M", 499, False),
    ("Gift card, digital", "GIFT-25", 2500, False),
)

NOTES = (
    "Please leave with the neighbour.",
    "Bitte keine DHL-Packstation!",
    "line one\nline two\ttab",
    "🎁 gift – no invoice, s'il vous plaît",
)
COLOURS = ("Red", "Blue", "Grün", "Noir & blanc")
SIZES = ("S", "M", "L", "42 ½")


def buyer(random: Random, home: str) -> dict[str, Any]:
    """A person with an address, mostly of the seller's own country."""
    local = [place for place in PLACES if place[0] == home]
    place = random.choice(local) if local and random.random() < 0.8 else random.choice(PLACES)
    number = random.randrange(10**7)
    return {
        "username": f"buyer_{number:07d}",
        "name": random.choice(NAMES),
        "email": f"{number:07x}@members.ebay.example",
        "phone": f"+{random.randrange(10**9, 10**11)}",
        "country": place[0],
        "address": _address(place),
    }


def _address(place: tuple[str, str, str, str, str, str | None]) -> dict[str, str]:
    country, city, state, postal, first, second = place
    address = {"addressLine1": first}
    if second:
        address["addressLine2"] = second
    return address | {"city": city, "stateOrProvince": state, "postalCode": postal, "countryCode": country}


def marketplace_of(country: str) -> str:
    return f"EBAY_{country}"


def currency_of(country: str) -> str:
    return {"US": "USD", "GB": "GBP", "AU": "AUD", "PL": "PLN"}.get(country, "EUR")
