// What all parts use.
const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const data = (element) => JSON.parse(element.textContent);
const typing = (event) => event.target.closest("input:not([type=range], [type=checkbox]), select, textarea");
const plain = (event) => !(event.ctrlKey || event.altKey || event.metaKey);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
document.documentElement.classList.add("js");
