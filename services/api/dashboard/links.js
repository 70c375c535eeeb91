/* The busiest links: /urls?sort=clicks, and from time to time how often each was followed. */

const clicksOf = new Map();

function showLinks(links) {
  write(byId('links-note'), '');
  const most = Math.max(1, ...links.map((link) => clicksOf.get(link.id) ?? 0));
  byId('links').replaceChildren(...(links.length ? links.map((link) => linkRow(link, most)) : [
    make('li', { class: 'empty' }, 'There are no links yet. Make one with POST /shorten.'),
  ]));
}

function linksAreMissing() {
  write(byId('links-note'), 'can’t be read now');
}

function linkRow(link, most) {
  const clicks = clicksOf.get(link.id);
  const bar = make('i');
  bar.style.width = `${((clicks ?? 0) / most) * 100}%`;
  const isActive = link.is_active !== false;
  return make('li', {}, make('span', { class: 'track', 'aria-hidden': 'true' }, bar),
    make('span', { class: 'what' },
      make('a', { href: safeAddress(link.short_url), target: '_blank', rel: 'noopener noreferrer' }, `/${link.short_code}`),
      make('small', {}, `${isActive ? '' : 'inactive · '}${link.title || link.original_url}`)),
    make('span', { class: 'clicks' }, clicks === undefined ? NOTHING : count(clicks)));
}

/** An address that is http or https; anything else isn't followed. */
function safeAddress(address) {
  return /^https?:\/\//i.test(address) ? address : null;
}

async function countClicks(links, ask) {
  for (const link of links) {
    const stats = await ask(`/urls/${Number(link.id)}/stats`);
    if (stats && isNumber(stats.clicks)) clicksOf.set(link.id, stats.clicks);
  }
}
