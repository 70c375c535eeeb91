/* Asks the API every other second while somebody looks, and says when it doesn't answer. */

const EVERY = 2_000;
const LINKS_EVERY = 10_000;
const CLICKS_EVERY = 60_000;
const PATIENCE = 5_000;

const seen = { ready: null, services: [], heard: null, lostSince: null, linksAt: 0, clicksAt: 0, polling: false, timer: 0 };

/** The JSON of an answer, whatever its status when `any`; null when there is none in time. */
async function ask(path, { any = false, headers = null } = {}) {
  try {
    const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), cache: 'no-store', credentials: 'same-origin' });
    if (headers) headers(response.headers);
    return response.ok || any ? await response.json() : null;
  } catch {
    return null; // gone, too late, or not JSON: all the same to who looks
  }
}

async function poll() {
  clearTimeout(seen.timer);
  if (seen.polling || document.hidden) return;
  seen.polling = true;
  const began = Date.now();
  try {
    await Promise.all([askForFigures(), askForLogs(), began - seen.linksAt >= LINKS_EVERY ? askForLinks(began) : null]);
  } finally {
    seen.polling = false;
    seen.timer = setTimeout(poll, Math.max(250, EVERY - (Date.now() - began)));
  }
}

async function askForFigures() {
  const [metrics, alerts, ready] = await Promise.all([ask('/metrics'), ask('/alert-status'), ask('/ready', { any: true })]);
  const now = Date.now();
  if (metrics === null && alerts === null) {
    seen.lostSince ??= seen.heard ?? now;
  } else {
    seen.lostSince = null;
    seen.heard = now;
  }
  if (metrics !== null) {
    seen.services = metrics.services ?? [];
    showFigures(metrics, now);
    showServices(seen.services, metrics.complete !== false);
  }
  if (alerts !== null) showAlerts(alerts, now);
  if (ready !== null && ready.database) {
    seen.ready = ready;
    showStores(ready, seen.services);
  }
  drawCharts(now);
  showConnection(now);
}

async function askForLogs() {
  let source = '';
  const found = await ask('/logs?limit=300', { headers: (headers) => { source = headers.get('X-Log-Source'); } });
  if (Array.isArray(found)) showLogs(found, source);
}

async function askForLinks(now) {
  seen.linksAt = now;
  const links = await ask('/urls?sort=clicks&per_page=10');
  if (!Array.isArray(links)) {
    linksAreMissing();
    return;
  }
  showLinks(links);
  if (now - seen.clicksAt >= CLICKS_EVERY) {
    seen.clicksAt = now;
    await countClicks(links, ask);
    showLinks(links);
  }
}

function showConnection(now) {
  const isLost = seen.lostSince !== null;
  const lost = byId('lost');
  const live = byId('live');
  document.body.classList.toggle('stale', isLost);
  live.dataset.state = isLost ? 'bad' : 'good';
  write(live.querySelector('.words'), isLost ? 'no connection' : 'live');
  if (isLost) {
    const since = new Date(seen.lostSince);
    // The seconds are not part of what is read out, or it would be every other second.
    if (lost.hidden) {
      lost.replaceChildren(
        make('b', {}, `Connection lost at ${clock(since)}.`),
        ' What you see is from then. Trying again every two seconds.',
        make('span', { class: 'age', 'aria-live': 'off' }));
    }
    write(lost.querySelector('.age'), duration((now - since) / 1000));
    const verdict = byId('verdict');
    verdict.dataset.state = 'unknown';
    write(verdict.querySelector('.words'), 'Unknown: the API does not answer');
    document.title = 'No connection · Hoplink';
  } else {
    showVerdict(seen.ready, seen.services);
  }
  lost.hidden = !isLost;
}

/* Light, dark, or as the system has it. */

const THEMES = ['system', 'light', 'dark'];

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  write(byId('theme'), `Theme: ${name}`);
}

function remembered() {
  try {
    return THEMES.find((name) => name === localStorage.getItem('theme')) ?? 'system';
  } catch {
    return 'system'; // storage is switched off
  }
}

byId('theme').addEventListener('click', () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  setTheme(next);
  try {
    localStorage.setItem('theme', next);
  } catch {
    // It lasts as long as the page, then.
  }
});

document.addEventListener('visibilitychange', poll);
setTheme(remembered());
poll();
