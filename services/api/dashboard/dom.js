/* Making elements. What comes from the server only ever becomes text. */

const byId = (id) => document.getElementById(id);

const DRAWING = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for parts of a drawing. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(DRAWING, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Sets a text without touching the page when it is there already. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A word with a sign before it, since colour alone says nothing to some. */
function state(kind, words) {
  return make('span', { class: 'state', 'data-state': kind },
    make('span', { class: 'glyph', 'aria-hidden': 'true' }), words);
}
