const films = JSON.parse(document.getElementById('films').textContent);
const hues = ['#e2533f', '#2f7de1', '#1d9a6c', '#b352d6', '#d98a00', '#1aa3b8', '#c2427f', '#777'];
let truth = false;
document.getElementById('truth').addEventListener('change', e => { truth = e.target.checked; });
function index(times, t) {
  let low = 0, high = times.length - 1;
  while (low < high) {
    const m = (low + high + 1) >> 1;
    if (times[m] <= t + 1e-3) low = m; else high = m - 1;
  }
  return low;
}
for (const film of films) {
  const box = document.getElementById(film.name), video = box.querySelector('video');
  const canvas = box.querySelector('canvas'), pen = canvas.getContext('2d');
  const mark = box.querySelector('u');
  canvas.width = film.width * 2; canvas.height = film.height * 2;
  const draw = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    mark.style.left = 100 * video.currentTime / film.seconds + '%';
    if (truth) {
      const k = index(film.times, video.currentTime);
      pen.lineWidth = 2;
      for (const piece of film.overlay) {
        pen.strokeStyle = hues[piece.thing % hues.length];
        pen.beginPath();
        piece.at.slice(0, k + 1).forEach(([x, y], i) => i ? pen.lineTo(2 * x, 2 * y) : pen.moveTo(2 * x, 2 * y));
        pen.stroke();
        pen.beginPath();
        pen.arc(2 * piece.at[k][0], 2 * piece.at[k][1], Math.max(2, 2 * piece.r[k]), 0, 7);
        pen.stroke();
      }
      const hit = film.contacts.find(([t]) => Math.abs(t - video.currentTime) < 0.06);
      if (hit) { pen.strokeStyle = '#e2533f'; pen.lineWidth = 8; pen.strokeRect(0, 0, canvas.width, canvas.height); }
    }
    if (!video.paused) requestAnimationFrame(draw);
  };
  video.addEventListener('play', draw); video.addEventListener('seeked', draw);
  document.getElementById('truth').addEventListener('change', draw);
  box.addEventListener('mouseenter', () => video.play().catch(() => {}));
  box.addEventListener('mouseleave', () => video.pause());
  box.addEventListener('click', e => { if (e.target === video) video.muted = !video.muted; });
}
