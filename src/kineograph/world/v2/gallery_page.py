"""The gallery's page: one HTML file without anything from elsewhere, in English and Chinese."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

SECTIONS = {
    "scenes": ("Scenes", "场景", "drawn at random, with whatever the seed gives"),
    "motions": ("Motions", "运动", "one scene for each thing that an object can do"),
    "cameras": ("Cameras", "镜头运动", "the same three things under every camera move"),
    "shots": ("Shots", "分镜", "films of several shots, and the ways from one to the next"),
    "places": ("Places and light", "地点与光线", "floors, times of day, weather"),
    "styles": ("Styles", "风格", "the same two seconds in all 24"),
}


def _text(text: str) -> str:
    for a, b in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(a, b)
    return text


def _rates(entry: dict[str, Any]) -> str:
    """Return the camera's rates of every shot, in words."""
    units = {"zoom": "1/s", "horizontal": "m/s", "vertical": "m/s", "depth": "m/s", "shake": "°"}
    told = []
    for start, rates in zip(entry["starts"], entry["rates"], strict=True):
        each = [f"{name} {value:+.3g} {units.get(name, '°/s')}" for name, value in rates.items()]
        told.append(f"{start:.2g} s: {', '.join(each) or 'static'}")
    return "; ".join(told)


def _figure(entry: dict[str, Any]) -> str:
    english, chinese = (_text(c) for c in entry["captions"])
    marks = "".join(
        f'<i style="left:{100 * t / entry["seconds"]:.2f}%;height:{min(10, 3 + 4 * p):.1f}px"></i>'
        for t, p in entry["contacts"]
    )
    scene = _text(json.dumps(entry["scene"], ensure_ascii=False, indent=1))
    return (
        f'<figure id="{entry["name"]}"><div class="frame"><video src="{entry["name"]}.mp4" '
        f'width="{entry["width"]}" height="{entry["height"]}" muted loop playsinline '
        f'preload="metadata"></video><canvas></canvas></div>'
        f'<div class="bar" title="contacts">{marks}<u></u></div>'
        f"<figcaption><b>{_text(entry['title'])}</b><p>{english}</p>"
        f'<p lang="zh">{chinese}</p><details><summary>{_text(_rates(entry))}</summary>'
        f"<pre>{scene}</pre></details></figcaption></figure>"
    )


def _asset(name: str) -> str:
    return (files("kineograph") / "assets" / "gallery" / name).read_text(encoding="utf-8")


def page(entries: list[dict[str, Any]]) -> str:
    """Return the page of the films that entries describe."""
    body, links = [], []
    for key, (english, chinese, about) in SECTIONS.items():
        mine = [e for e in entries if e["section"] == key]
        links.append(f'<a href="#{key}">{english} {chinese}</a>')
        body.append(
            f'<h2 id="{key}">{english} {chinese}<small>{about}</small></h2>'
            f'<div class="grid">{"".join(_figure(e) for e in mine)}</div>'
        )
    kept = ("name", "width", "height", "seconds", "times", "overlay", "contacts")
    films = [{k: e[k] for k in kept} for e in entries]
    data = json.dumps(films, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Kineograph: the world</title><style>{_asset('page.css')}</style>"
        "<h1>The world of Kineograph, second version</h1>"
        "<p>Point at a film to play it, click it for its sound. Red marks under a film are its "
        "contacts, taller for more impulse. 指向影片即可播放，点击可听声音；红线是碰撞时刻。</p>"
        f'<nav>{"".join(links)}<label><input type="checkbox" id="truth"> truth 真值</label></nav>'
        f'{"".join(body)}<script type="application/json" id="films">{data}</script>'
        f"<script>{_asset('page.js')}</script></html>"
    )
