/* Formats numbers and times, and writes them into the page: always as text, never as HTML. */
'use strict';

const grouped = new Intl.NumberFormat('en');

/* At most three digits and a prefix, as the terminal shows them (src/command/terminal.c): 950 B, 1.2 KiB, 45 MiB. Bytes
 * count in steps of 1024, as in the configuration; bits and datagrams in steps of 1000. */
function scaled(value, step, prefixes, unit) {
  let power = 0;
  while (value >= 999.5 && power < prefixes.length - 1) {
    value /= step;
    power++;
  }
  const digits = value < 99.95 && !(power === 0 && value >= 1) ? 1 : 0;
  const number = value > 0 && value < 0.05 ? '<0.1' : value.toFixed(digits).replace(/\.0$/, '');
  return `${number}${prefixes[power]}${unit}`;
}

const count = value => grouped.format(value);
const roughly = value => scaled(value, 1000, ['', 'k', 'M', 'G', 'T', 'P'], '');
const bytes = value => scaled(value, 1024, [' ', ' Ki', ' Mi', ' Gi', ' Ti', ' Pi'], 'B');
const bits = value => scaled(value, 1000, [' ', ' k', ' M', ' G', ' T'], 'bit/s');
const perSecond = value => `${roughly(value)}/s`;

function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

const sentence = words => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

/* The two largest units: 12 s, 3 min 20 s, 4 h 5 min, 3 d 4 h. */
function duration(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0)
    return '0 s';
  return units.slice(first, first + 2).map(([unit, size]) => {
    const number = Math.floor(seconds / size);
    seconds %= size;
    return number ? `${number} ${unit}` : '';
  }).filter(Boolean).join(' ');
}

const clock = date => date.toLocaleTimeString('en-GB');

function moment(text) {
  const date = new Date(text);
  const day = date.toDateString() === new Date().toDateString() ? 'today'
    : date.toLocaleDateString('en-GB', {day: 'numeric', month: 'short', year: 'numeric'});
  return `${day}, ${clock(date)}`;
}

function percent(part, whole) {
  const share = 100 * part / whole;
  return share === 0 ? '0 %' : share < 0.01 ? '<0.01 %' : `${share.toFixed(share < 1 ? 2 : share < 10 ? 1 : 0)} %`;
}

/* Writes only what has changed: nothing flickers, and a selection stays. */
function write(element, text) {
  if (element.textContent !== String(text))
    element.textContent = text;
}

/* put(root, {name: text}) writes into every element below root that is marked data-is="name". */
function put(root, values) {
  for (const [name, text] of Object.entries(values))
    for (const element of root.querySelectorAll(`[data-is="${name}"]`))
      write(element, text);
}

const byId = id => document.getElementById(id);

/* One child for each item, made from the template and filled; existing children are used again. */
function list(parent, template, items, fill) {
  while (parent.children.length > items.length)
    parent.lastElementChild.remove();
  while (parent.children.length < items.length)
    parent.append(template.content.firstElementChild.cloneNode(true));
  items.forEach((item, index) => fill(parent.children[index], item));
}

function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
