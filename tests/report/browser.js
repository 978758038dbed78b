// Looks at one page in Chromium and prints what was seen as JSON; called by test_report_browser.py.
// usage: node browser.js TOOLS CHROMIUM PAGE; TOOLS is the folder that scripts/browser-tools fills.
"use strict";
const [tools, chrome, page] = process.argv.slice(2);
const { chromium } = require(`${tools}/node_modules/playwright-core`);
const address = `file://${page}`;

// As a reader has it: no network, the page's own policy in force. All that it asks for or complains of is kept.
async function open(browser, options) {
  const context = await browser.newContext({ offline: true, ...options });
  const tab = await context.newPage();
  const seen = { console: [], requests: [] };
  tab.on("console", (message) => seen.console.push(message.text()));
  tab.on("pageerror", (error) => seen.console.push(String(error)));
  tab.on("request", (request) => {
    if (!request.url().startsWith("data:") && request.url() !== address) seen.requests.push(request.url());
  });
  await tab.goto(address);
  return { context, tab, seen };
}

const tables = () =>
  [...document.querySelectorAll("table.tool")].map((table, i) => {
    const rows = [...table.tBodies[0].rows];
    return { i, caption: table.caption.textContent, rows: rows.length, shown: rows.filter((row) => !row.hidden).length };
  });

const column = ([table, index]) =>
  [...document.querySelectorAll("table.tool")[table].tBodies[0].rows].map((row) => {
    const cell = row.cells[index];
    return cell.dataset.sort || cell.textContent.trim();
  });

const state = ([table, index]) => document.querySelectorAll("table.tool")[table].tHead.rows[0].cells[index].ariaSort;

// The register: sorted and filtered with the keyboard alone.
async function use(tab) {
  const before = await tab.evaluate(tables);
  const last = before.findIndex((table) => table.caption === "Register of all numbers");
  if (last < 0) return null;
  const table = tab.locator("table.tool").nth(last);
  const numeric = await table.locator("thead th").evaluateAll((heads) => heads.findIndex((h) => h.matches(".number")));
  const button = table.locator("thead th").nth(numeric).locator("button");
  await button.focus();
  await tab.keyboard.press("Enter");
  const up = { state: await tab.evaluate(state, [last, numeric]), column: await tab.evaluate(column, [last, numeric]) };
  await tab.keyboard.press("Space");
  const down = { state: await tab.evaluate(state, [last, numeric]), column: await tab.evaluate(column, [last, numeric]) };
  const controls = table.locator("xpath=ancestor::div[contains(concat(' ', @class, ' '), ' table ')]").locator(".controls");
  await controls.locator("input").focus();
  await tab.keyboard.type(await table.locator("tbody th").first().innerText());
  const filtered = { ...(await tab.evaluate(tables))[last], said: await controls.locator("[role=status]").textContent() };
  await controls.locator("input").fill("");
  let selected = null;
  if (await controls.locator("select").count()) {
    const choice = await controls.locator("select option").nth(1).getAttribute("value");
    await controls.locator("select").selectOption(choice);
    selected = { choice, ...(await tab.evaluate(tables))[last] };
  }
  const results = await table.locator("tbody td:last-child .badge").count();
  return { before: before[last], up, down, filtered, results, selected };
}

// Every stop of the tab key, with the name that a screen reader would say and whether the focus can be seen.
async function walk(tab, most) {
  const stops = [];
  await tab.evaluate(() => scrollTo(0, 0));
  for (let i = 0; i < most; i += 1) {
    await tab.keyboard.press("Tab");
    const stop = await tab.evaluate(() => {
      const at = document.activeElement;
      if (!at || at === document.body) return null;
      const style = getComputedStyle(at);
      const label = at.labels?.[0]?.textContent ?? "";
      return { tag: at.tagName, name: at.ariaLabel || label || at.textContent.trim(), outline: style.outlineStyle };
    });
    if (!stop) break;
    stops.push(stop);
  }
  return stops;
}

// What reaches beyond the screen without a box of its own that scrolls.
const wide = () => {
  const inside = (element) => {
    for (let at = element.parentElement; at; at = at.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };
  return {
    scroll: document.documentElement.scrollWidth,
    screen: innerWidth,
    beyond: [...document.querySelectorAll("body *")]
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !inside(e))
      .slice(0, 5)
      .map((e) => e.outerHTML.slice(0, 160)),
  };
};

(async () => {
  const browser = await chromium.launch({ executablePath: chrome, args: ["--no-sandbox"] });
  const result = { axe: {} };
  {
    const { context, tab, seen } = await open(browser, { viewport: { width: 1200, height: 900 } });
    result.wide = await tab.evaluate(wide);
    result.stops = await walk(tab, 60);
    result.reachable = await tab.evaluate(
      () => document.querySelectorAll("a[href], button, input, select, [tabindex='0']").length,
    );
    result.use = await use(tab);
    result.footnotes = await tab.evaluate(() =>
      [...document.querySelectorAll(".note")].filter((e) => !e.innerText.trim() || !e.offsetHeight).length,
    );
    await tab.emulateMedia({ media: "print", colorScheme: "dark" });
    result.print = await tab.evaluate(() => ({
      ground: getComputedStyle(document.body).backgroundColor,
      ink: getComputedStyle(document.querySelector(".topic p")).color,
      card: getComputedStyle(document.querySelector(".topic")).backgroundColor,
      controls: [...document.querySelectorAll(".controls, .skip")].filter((e) => e.offsetHeight).length,
      cut: [...document.querySelectorAll(".scroll, .draw, .listing")].filter(
        (e) => getComputedStyle(e).overflowX !== "visible",
      ).length,
    }));
    result.seen = seen;
    await context.close();
  }
  for (const width of [390, 320]) {
    const { context, tab, seen } = await open(browser, { viewport: { width, height: 800 } });
    result[`wide${width}`] = await tab.evaluate(wide);
    result.seen.console.push(...seen.console);
    result.seen.requests.push(...seen.requests);
    await context.close();
  }
  {
    const { context, tab } = await open(browser, { javaScriptEnabled: false, viewport: { width: 1200, height: 900 } });
    result.unscripted = await tab.locator("table tbody tr").count();
    await context.close();
  }
  for (const colorScheme of ["light", "dark"]) {
    const { context, tab } = await open(browser, { colorScheme, bypassCSP: true, viewport: { width: 1200, height: 900 } });
    await tab.addScriptTag({ path: `${tools}/node_modules/axe-core/axe.min.js` });
    // eslint-disable-next-line no-undef
    const found = await tab.evaluate(() => axe.run(document, { resultTypes: ["violations", "incomplete"] }));
    result.axe[colorScheme] = {
      ground: await tab.evaluate(() => getComputedStyle(document.body).backgroundColor),
      passes: found.passes.length,
      violations: found.violations.map((rule) => ({
        id: rule.id,
        nodes: rule.nodes.length,
        first: rule.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} :: ${node.failureSummary.slice(0, 300)}`),
      })),
      incomplete: found.incomplete.map((rule) => ({ id: rule.id, nodes: rule.nodes.length,
        first: rule.nodes.slice(0, 2).map((node) => `${node.html.slice(0, 160)} :: ${(node.any[0] || node.all[0] || {}).message}`) })),
    };
    await context.close();
  }
  await browser.close();
  process.stdout.write(JSON.stringify(result));
})().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
