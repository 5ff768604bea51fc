// Tooltips of the charts below root, a document or a shadow root. The page is complete without them.
window.fourfoldCharts = function (root) {
  'use strict';
  var tip = document.createElement('div');
  tip.className = 'tip';
  tip.hidden = true;
  (root.body || root).appendChild(tip);

  function show(event, head, rows) {
    tip.textContent = '';
    var title = document.createElement('div');
    title.className = 'head';
    title.textContent = head;
    tip.appendChild(title);
    rows.forEach(function (row) {
      var line = document.createElement('div');
      if (row.color) {
        var swatch = document.createElement('i');
        swatch.className = 'b' + row.color;
        line.appendChild(swatch);
      }
      line.appendChild(document.createTextNode(row.name));
      var value = document.createElement('b');
      value.textContent = row.text;
      line.appendChild(value);
      tip.appendChild(line);
    });
    tip.hidden = false;
    var left = event.clientX + 16;
    if (left + tip.offsetWidth > document.documentElement.clientWidth - 8) {
      left = event.clientX - tip.offsetWidth - 16;
    }
    tip.style.left = Math.max(8, left) + 'px';
    tip.style.top = event.clientY - tip.offsetHeight / 2 + 'px';
  }

  function nearest(values, x) {
    var low = 0;
    var high = values.length - 1;
    while (high - low > 1) {
      var middle = (low + high) >> 1;
      if (values[middle] < x) { low = middle; } else { high = middle; }
    }
    return Math.abs(values[low] - x) <= Math.abs(values[high] - x) ? low : high;
  }

  function position(svg, event) {
    var box = svg.getBoundingClientRect();
    var scale = svg.viewBox.baseVal.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  function element(svg, name, attributes) {
    var made = document.createElementNS(svg.namespaceURI, name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    svg.appendChild(made);
    return made;
  }

  function hover(svg, move) {
    var drawn = [];
    function clear() {
      drawn.forEach(function (part) { part.remove(); });
      drawn = [];
      tip.hidden = true;
    }
    svg.addEventListener('pointermove', function (event) {
      clear();
      drawn = move(event, position(svg, event)) || [];
    });
    svg.addEventListener('pointerleave', clear);
  }

  root.querySelectorAll('svg[data-chart]').forEach(function (svg) {
    var data = JSON.parse(svg.getAttribute('data-chart'));
    hover(svg, function (event, at) {
      var index = nearest(data.x, at.x);
      var x = data.x[index];
      var drawn = [element(svg, 'path', { 'class': 'cross', d: 'M' + x + ' ' + data.top + 'V' + data.bottom })];
      var rows = [];
      data.series.forEach(function (series) {
        var point = nearest(series.x, x);
        if (Math.abs(series.x[point] - x) > 8) { return; }
        rows.push({ name: series.name, color: series.color, text: series.text[point] });
        if (data.dots) {
          drawn.push(element(svg, 'circle', { 'class': 'dot f' + series.color, r: 4, cx: series.x[point], cy: series.y[point] }));
        }
      });
      show(event, data.heads[index], rows);
      return drawn;
    });
  });

  root.querySelectorAll('svg[data-heat]').forEach(function (svg) {
    var data = JSON.parse(svg.getAttribute('data-heat'));
    hover(svg, function (event, at) {
      var column = Math.floor((at.x - data.left) / data.width * data.columns.length);
      var row = Math.floor((at.y - data.top) / data.height * data.rows.length);
      if (column < 0 || row < 0 || column >= data.columns.length || row >= data.rows.length) { return []; }
      var width = data.width / data.columns.length;
      var height = data.height / data.rows.length;
      show(event, data.columns[column], [{ name: data.rowName + data.rows[row], text: data.text[row][column] || 'no value' }]);
      return [element(svg, 'rect', { 'class': 'cell', x: data.left + column * width, y: data.top + row * height, width: width, height: height })];
    });
  });
};
