"use strict";

// Tables that sort.

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, k) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[k].dataset.value ?? row.cells[k].textContent.trim();
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");  // what has no value is last both ways
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}

// A link to a section unfolds what is folded in it.

for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", () => {
    const first = document.querySelector(`${link.getAttribute("href")} > h2 + details`);
    if (first) first.open = true;
  });
}

// Plots: made when they are first looked at, and again when the colours change.

const redraws = new Map();

function plotly() {
  if (!window.Plotly) {  // five megabytes, of which nothing is read before it is needed
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  }
  return window.Plotly;
}

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function look(layout) {
  const axis = {gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true};
  const dressed = {
    ...layout, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: "kept",
    font: {color: colour("ink"), family: "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", size: 12},
    hoverlabel: {bgcolor: colour("raised"), bordercolor: colour("line"), font: {color: colour("ink")}, align: "left"},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent")},
  };
  for (const key of Object.keys(layout)) if (/^[xy]axis\d*$/.test(key)) dressed[key] = {...axis, ...layout[key]};
  return dressed;
}

function draw(box, traces, layout) {
  // Named one by one: some versions have others, which send the data to a server.
  const buttons = [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
  plotly().react(box, traces, look(layout), {responsive: true, displaylogo: false, modeBarButtons: buttons});
}

function keep(box, redraw) {
  redraws.set(box, redraw);
  redraw();
}

const redrawAll = () => redraws.forEach(redraw => redraw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);

// Error against time.

const everySetting = document.getElementById("every-setting"), linearTime = document.getElementById("linear-time");
for (const box of [everySetting, linearTime]) box?.addEventListener("change", redrawAll);

function drawTimes(figure) {
  const {data, layout} = JSON.parse(figure.querySelector("script").textContent), box = figure.querySelector(".plot");
  keep(box, () => {
    for (const trace of data) trace.visible = trace.meta.shown || everySetting.checked;
    const xaxis = {...layout.xaxis, type: linearTime.checked ? "linear" : "log"};
    const legend = {orientation: "h", yref: "container", y: 0, yanchor: "bottom", font: {size: 11}};
    draw(box, data, {...layout, xaxis, legend, margin: {l: 55, r: 10, t: 34, b: 10}});
  });
}

const seen = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      drawTimes(entry.target);
    }
  }
}, {rootMargin: "300px"});
for (const figure of document.querySelectorAll("figure.time")) seen.observe(figure);

// Solutions, moment by moment.

function decoded({low, high, data}) {  // what `coded` of slices.py has written
  const bytes = Uint8Array.from(atob(data), sign => sign.charCodeAt(0)), view = new DataView(bytes.buffer);
  return Float64Array.from({length: bytes.length / 2}, (_, k) => {
    const code = view.getUint16(2 * k, true);
    return code === 65535 ? NaN : low + code * (high - low) / 65534;
  });
}

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

function widened([low, high]) {
  const room = 0.05 * (high - low || 1);
  return [low - room, high + room];
}

function lines(solution, field, k) {
  const x = solution.axes[0], count = x.values.length, part = values => values.subarray(k * count, (k + 1) * count);
  const line = (name, values, look, more) =>
    ({x: x.values, y: part(values), name, mode: "lines", line: look, hovertemplate: "%{y:.4~g}", ...more});
  const traces = [], layout = {hovermode: "x unified", margin: {l: 60, r: 10, t: 64, b: 40}};
  layout.legend = {orientation: "h", y: 1, yanchor: "bottom"};
  layout.xaxis = {title: {text: x.name}};
  layout.yaxis = {title: {text: field.name}, range: widened(field.range)};
  if (field.error) {
    traces.push(line("reference", field.reference, {color: colour("reference"), width: 7}));
    traces.push(line("prediction − reference", field.error, {color: colour("error"), width: 1.5}, {yaxis: "y2"}));
    layout.xaxis.anchor = "y2";
    layout.yaxis.domain = [0.42, 1];
    layout.yaxis2 = {title: {text: "error"}, domain: [0, 0.34], range: widened(field.errorRange), exponentformat: "power"};
  }
  traces.push(line("prediction", field.prediction, {color: colour("prediction"), width: 1.8}));
  return [traces, layout];
}

function maps(solution, field, k, narrow) {
  const [x, y] = solution.axes, across = x.values.length, count = across * y.values.length;
  const plane = values => y.values.map((_, n) => values.subarray(k * count + n * across, k * count + (n + 1) * across));
  const shown = [["prediction", field.prediction]];
  if (field.error) shown.push(["reference", field.reference], ["prediction − reference", field.error]);
  const traces = [], layout = {margin: {l: 50, r: 10, t: 48, b: 40}, annotations: []}, step = 1 / shown.length;
  shown.forEach(([title, values], n) => {
    const last = n === 2, number = n ? n + 1 : "";
    const bounds = range((last ? values : field.reference ?? values).subarray(k * count, (k + 1) * count));
    const largest = Math.max(...bounds.map(Math.abs));
    const domain = [n * step + (n ? 0.02 : 0), (n + 1) * step - 0.09 * (narrow ? 0.6 : 1)];
    const [wide, high] = narrow ? [[0, 0.85], [1 - domain[1], 1 - domain[0]]] : [domain, [0, 1]];
    traces.push({
      type: "heatmap", x: x.values, y: y.values, z: plane(values), xaxis: `x${number}`, yaxis: `y${number}`, name: title,
      zmin: last ? -largest : bounds[0], zmax: last ? largest : bounds[1], colorscale: last ? "RdBu" : "Viridis",
      hovertemplate: `${x.name} %{x:.3~g}, ${y.name} %{y:.3~g}: %{z:.4~g}<extra></extra>`,
      colorbar: {x: wide[1] + 0.005, y: (high[0] + high[1]) / 2, len: high[1] - high[0], thickness: 9, outlinewidth: 0,
                 exponentformat: "power", tickfont: {size: 10}},
    });
    layout[`xaxis${number}`] = {domain: wide, anchor: `y${number}`, title: {text: !narrow || last ? x.name : ""}};
    layout[`yaxis${number}`] = {domain: high, anchor: `x${number}`, title: {text: !narrow && n ? "" : y.name}};
    layout.annotations.push({text: title, xref: "paper", yref: "paper", x: (wide[0] + wide[1]) / 2, y: high[1],
                             yanchor: "bottom", showarrow: false, font: {size: 12}});
  });
  return [traces, layout];
}

function openSolution(details) {
  const box = details.querySelector(".plot"), note = details.querySelector("p"), known = new Map();
  const [moment, slider] = [details.querySelector(".moment"), details.querySelector("input[type=range]")];
  const [fieldLabel, fieldChoice] = [details.querySelector(".field"), details.querySelector("select")];
  const chosen = () => details.querySelector("input[type=radio]:checked");
  const read = choice => {
    if (!known.has(choice)) {
      const solution = JSON.parse(choice.parentElement.querySelector("script").textContent);
      for (const field of solution.fields) {
        field.prediction = decoded(field.prediction);
        field.error &&= decoded(field.error);
        field.reference = field.error && field.prediction.map((value, k) => value - field.error[k]);
        const [a, b] = [range(field.prediction), range(field.reference ?? [])];
        field.range = field.reference ? [Math.min(a[0], b[0]), Math.max(a[1], b[1])] : a;
        field.errorRange = field.error && range(field.error);
      }
      known.set(choice, solution);
    }
    return known.get(choice);
  };
  const first = read(chosen());
  fieldChoice.append(...first.fields.map(field => new Option(field.name)));
  fieldLabel.hidden = first.fields.length < 2;
  moment.hidden = !first.time;
  slider.max = first.time ? first.time.values.length - 1 : 0;
  slider.value = slider.max;
  const show = () => {
    const solution = read(chosen()), field = solution.fields[fieldChoice.selectedIndex] ?? solution.fields[0];
    if (solution.time) slider.max = solution.time.values.length - 1;
    const k = solution.time ? Number(slider.value) : 0, flat = solution.axes.length === 1;
    if (solution.time) moment.querySelector("output").textContent = `${solution.time.name} = ${solution.time.values[k]}`;
    note.textContent = chosen().value;
    const narrow = box.clientWidth < 700;
    box.style.height = flat ? "30rem" : narrow ? "60rem" : "24rem";
    draw(box, ...(flat ? lines(solution, field, k) : maps(solution, field, k, narrow)));
  };
  details.addEventListener("input", show);
  keep(box, show);
}

for (const details of document.querySelectorAll("details.solution")) {
  details.addEventListener("toggle", () => openSolution(details), {once: true});
}
