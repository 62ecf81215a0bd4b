// A line for each text: the text itself, and a button that copies it, or selects it where a page may not copy.
const COPIED_MS = 2000
const PAPER = 'M16 1H4a2 2 0 0 0-2 2v14h2V3h12V1zm3 4H8a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2V7a2 2 0 0 0-2-2zm0 16H8V7h11v14z'
const CHECK = 'M9 16.2 4.8 12l-1.4 1.4L9 19 21 7l-1.4-1.4z'

function icon(shape) {
    const drawing = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
    drawing.setAttribute('viewBox', '0 0 24 24')
    drawing.setAttribute('aria-hidden', 'true')
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
    path.setAttribute('d', shape)
    drawing.append(path)
    return drawing
}

function select(element) {
    const range = document.createRange()
    range.selectNodeContents(element)
    const selection = window.getSelection()
    selection.removeAllRanges()
    selection.addRange(range)
}

async function copy(text, code, button) {
    try {
        await navigator.clipboard.writeText(text)
    } catch {
        select(code)
        return
    }
    button.dataset.copied = 'yes'
    button.replaceChildren(icon(CHECK))
    setTimeout(() => button.replaceChildren(icon(PAPER)), COPIED_MS)
}

function line(text) {
    const row = document.createElement('div')
    const code = document.createElement('code')
    const button = document.createElement('button')
    row.className = 'line'
    code.textContent = text
    button.type = 'button'
    button.title = 'Copy'
    button.setAttribute('aria-label', `Copy ${text}`)
    button.append(icon(PAPER))
    button.onclick = () => copy(text, code, button)
    row.append(code, button)
    return row
}

export default function ({ data, parentElement }) {
    const shown = [...parentElement.querySelectorAll('.line code')].map((code) => code.textContent)
    if (shown.length === data.texts.length && shown.every((text, place) => text === data.texts[place])) return
    parentElement.querySelectorAll('.line').forEach((old) => old.remove())
    parentElement.append(...data.texts.map(line))
}
