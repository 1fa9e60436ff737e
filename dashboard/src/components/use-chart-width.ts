import { useLayoutEffect, useState } from 'react';

/** A chart is drawn as wide as its place is: scaled down to a telephone its words would be too small to read. */
export function useChartWidth(): [place: (element: Element | null) => void, width: number] {
  // State and no ref: a chart may come into the page later than its component.
  const [place, setPlace] = useState<Element | null>(null);
  const [width, setWidth] = useState(960);
  useLayoutEffect(() => {
    if (!place) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry && entry.contentRect.width > 0) setWidth(Math.max(240, Math.round(entry.contentRect.width)));
    });
    observer.observe(place);
    return () => observer.disconnect();
  }, [place]);
  return [setPlace, width];
}
