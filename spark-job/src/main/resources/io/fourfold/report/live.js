// Keeps the run's page fresh. Nothing is drawn again while somebody reads a tooltip or looks at another tab.
(function () {
  'use strict';
  var PERIOD = 3000;
  var host = document.getElementById('fourfold');
  if (!host) { return; }
  var root = host.shadowRoot;
  if (!root) {
    // A browser without declarative shadow roots.
    var template = host.querySelector('template');
    root = host.attachShadow({ mode: 'open' });
    root.appendChild(template.content);
  }
  var page = root.querySelector('.page');
  var notice = root.querySelector('.live');

  function theme() {
    host.setAttribute('data-theme', document.documentElement.getAttribute('data-bs-theme') || 'light');
  }

  function opened() {
    return Array.prototype.map.call(page.querySelectorAll('details'), function (fold) { return fold.open; });
  }

  function show(html) {
    var open = opened();
    root.querySelectorAll('.tip').forEach(function (tip) { tip.remove(); });
    page.innerHTML = html;
    page.querySelectorAll('details').forEach(function (fold, i) { fold.open = Boolean(open[i]); });
    window.fourfoldCharts(root);
    notice.textContent = '';
    host.setAttribute('data-refreshed', String(Date.now()));
  }

  function refresh() {
    var reading = root.querySelector('.tip:not([hidden])');
    if (document.hidden || reading) {
      window.setTimeout(refresh, PERIOD);
      return;
    }
    fetch(host.getAttribute('data-source'), { credentials: 'same-origin' }).then(function (answer) {
      if (!answer.ok) { throw new Error('status ' + answer.status); }
      return answer.text();
    }).then(show).catch(function () {
      notice.textContent = 'The driver does not answer any more: the run has ended, or the network is down. What it wrote is in the run folder, in report.html.';
    }).then(function () { window.setTimeout(refresh, PERIOD); });
  }

  theme();
  new MutationObserver(theme).observe(document.documentElement, { attributes: true, attributeFilter: ['data-bs-theme'] });
  window.fourfoldCharts(root);
  window.setTimeout(refresh, PERIOD);
})();
