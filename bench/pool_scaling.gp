# Draws STEM.png from STEM.dat; bench/pool_scaling runs it with stem, blocks and names set.
data = stem.'.dat'
set encoding utf8
png = strstrt(GPVAL_TERMINALS, 'pngcairo') ? 'pngcairo' : 'png'
set terminal @png size 1400,980 font 'sans,13' linewidth 1.4
set output stem.'.png'
set border 3 linewidth 1 linecolor rgb '#505050'
set tics nomirror out scale 0.6 textcolor rgb '#303030'
set grid linetype 1 linewidth 0.7 linecolor rgb '#dcdcdc'
set key top right opaque samplen 2.5 spacing 1.1
array colours[4] = ['#d55e00', '#0072b2', '#009e73', '#404040']
set logscale x 2
set format x '%g'
set xlabel 'x, megabytes' offset 0,0.3
set yrange [0:*]
# Bytes for each element of x, float32, 2x2: x and a quarter in the forward pass, twice x and a quarter backward.
bound(bytes, speed) = bytes / speed
array bytes[3] = [5.0, 9.0, 5.0]
array passes[3] = ['forward', 'backward', 'inference']


set multiplot layout 2,2 margins 0.06,0.98,0.08,0.88 spacing 0.1,0.14
do for [panel = 0:2] {
  set title passes[panel + 1].': ns for each element of x' offset 0,-0.6
  if (panel == 0) { set key at screen 0.97,0.99 right top vertical maxrows blocks noopaque width 1 } else { unset key }
  plot for [b = 0:blocks-1] data index b using 1:(column(4 + panel)) with linespoints linewidth 2.2 pointtype 7 pointsize 0.8 \
         linecolor rgb colours[1 + b] title 'a draw for each channel, threads: '.word(names, b + 1), \
       for [b = 0:blocks-1] data index b using 1:(column(7 + panel)) with linespoints linewidth 2.2 pointtype 5 pointsize 0.8 \
         dashtype 2 linecolor rgb colours[1 + b] title 'a draw for each output, threads: '.word(names, b + 1), \
       for [b = 0:blocks-1] data index b using 1:(bound(bytes[panel + 1], column(3))) with lines linewidth 1.6 dashtype 3 \
         linecolor rgb colours[1 + b] title 'copying as many bytes, threads: '.word(names, b + 1)
}
set title 'how many times as fast '.word(names, blocks).' threads are as '.word(names, 1) offset 0,-0.6
set key default
set key bottom right maxrows 4 noopaque samplen 1.5 spacing 1 font ',9' width -3
plot for [panel = 0:2] data index blocks using 1:(column(4 + panel)) with linespoints linewidth 2.2 pointtype 7 \
       pointsize 0.8 linecolor rgb colours[1 + panel] title passes[panel + 1].', for each channel', \
     for [panel = 0:1] data index blocks using 1:(column(7 + panel)) with linespoints linewidth 2.2 pointtype 5 \
       pointsize 0.8 dashtype 2 linecolor rgb colours[1 + panel] title passes[panel + 1].', for each output', \
     data index blocks using 1:3 with lines linewidth 1.6 dashtype 3 linecolor rgb colours[4] title 'copying', \
     data index blocks using 1:10 with lines linewidth 1.6 dashtype 4 linecolor rgb '#9a9a9a' title 'hashing: no memory'
unset multiplot
unset output
