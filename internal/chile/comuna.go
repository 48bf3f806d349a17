package chile

import (
	"errors"
	"fmt"
	"strings"
)

// Comuna is one of the 346 municipalities, named as the state names it.
type Comuna struct {
	Name   string
	Region Region
}

// ErrUnknownComuna tells that a text names no comuna; ErrComunaOutsideRegion
// that it names one that lies in another region than the address says.
var (
	ErrUnknownComuna       = errors.New("unknown comuna of Chile")
	ErrComunaOutsideRegion = errors.New("comuna lies in another region")
)

// LookupComuna finds a comuna by its name, whatever the capitals and accents,
// or by another spelling in common use ("Til Til", "Puerto Natales").
func LookupComuna(name string) (Comuna, bool) {
	c, ok := comunaNames[fold(name)]
	return c, ok
}

// Comunas returns the comunas of a region in alphabetical order.
func Comunas(r Region) []Comuna {
	names := comunasByRegion[r]
	all := make([]Comuna, 0, len(names))
	for _, name := range names {
		all = append(all, Comuna{Name: name, Region: r})
	}
	return all
}

// ValidatePlace finds the comuna of an address and checks that it lies in the
// region given, in any form ParseRegion accepts. The error is ErrUnknownComuna,
// ErrUnknownRegion or ErrComunaOutsideRegion (which names the right region).
func ValidatePlace(comuna, region string) (Comuna, error) {
	r, err := ParseRegion(region)
	if err != nil {
		return Comuna{}, err
	}
	c, ok := LookupComuna(comuna)
	if !ok {
		return Comuna{}, ErrUnknownComuna
	}
	if c.Region != r {
		return Comuna{}, fmt.Errorf("%w: %s is in %s (%s)", ErrComunaOutsideRegion, c.Name, c.Region, c.Region.Name())
	}
	return c, nil
}

var comunaNames = func() map[string]Comuna {
	names := make(map[string]Comuna, 400)
	add := func(name string, c Comuna) {
		key := fold(name)
		if other, taken := names[key]; taken {
			panic(fmt.Sprintf("chile: %q names both %s and %s", name, other.Name, c.Name))
		}
		names[key] = c
	}
	for region, list := range comunasByRegion {
		for _, name := range list {
			add(name, Comuna{Name: name, Region: region})
		}
	}
	for other, official := range comunaSpellings {
		add(other, names[fold(official)])
	}
	return names
}()

// comunaSpellings are other names that people, maps and carriers use. Editions
// of the state's own list differ in a few (Paihuano, Treguaco, Marchigüe).
var comunaSpellings = map[string]string{
	"Aisén": "Aysén", "Puerto Aysén": "Aysén", "Coihaique": "Coyhaique", "Alto Bío Bío": "Alto Biobío",
	"La Calera": "Calera", "Llay-Llay": "Llaillay", "Marchigüe": "Marchihue", "Treguaco": "Trehuaco",
	"Paihuano": "Paiguano", "Til Til": "Tiltil", "O Higgins": "O'Higgins", "Villa O'Higgins": "O'Higgins",
	"Puerto Natales": "Natales", "Puerto Williams": "Cabo de Hornos", "Puerto Saavedra": "Saavedra",
	"San Vicente de Tagua Tagua": "San Vicente", "San Francisco de Mostazal": "Mostazal",
	"Santiago Centro": "Santiago", "Rapa Nui": "Isla de Pascua",
	"San José de la Mariquina": "Mariquina",
}

// comunasByRegion follows the single territorial codes (CUT) that Subdere
// publishes (https://www.subdere.gov.cl), with Ñuble apart from Biobío since 2018.
var comunasByRegion = func() map[Region][]string {
	lists := map[Region]string{
		Arica:       "Arica, Camarones, General Lagos, Putre",
		Tarapaca:    "Alto Hospicio, Camiña, Colchane, Huara, Iquique, Pica, Pozo Almonte",
		Antofagasta: "Antofagasta, Calama, María Elena, Mejillones, Ollagüe, San Pedro de Atacama, Sierra Gorda, Taltal, Tocopilla",
		Atacama:     "Alto del Carmen, Caldera, Chañaral, Copiapó, Diego de Almagro, Freirina, Huasco, Tierra Amarilla, Vallenar",
		Coquimbo: "Andacollo, Canela, Combarbalá, Coquimbo, Illapel, La Higuera, La Serena, Los Vilos, Monte Patria, Ovalle, " +
			"Paiguano, Punitaqui, Río Hurtado, Salamanca, Vicuña",
		Valparaiso: "Algarrobo, Cabildo, Calera, Calle Larga, Cartagena, Casablanca, Catemu, Concón, El Quisco, El Tabo, Hijuelas, " +
			"Isla de Pascua, Juan Fernández, La Cruz, La Ligua, Limache, Llaillay, Los Andes, Nogales, Olmué, Panquehue, Papudo, " +
			"Petorca, Puchuncaví, Putaendo, Quillota, Quilpué, Quintero, Rinconada, San Antonio, San Esteban, San Felipe, " +
			"Santa María, Santo Domingo, Valparaíso, Villa Alemana, Viña del Mar, Zapallar",
		Santiago: "Alhué, Buin, Calera de Tango, Cerrillos, Cerro Navia, Colina, Conchalí, Curacaví, El Bosque, El Monte, " +
			"Estación Central, Huechuraba, Independencia, Isla de Maipo, La Cisterna, La Florida, La Granja, La Pintana, La Reina, " +
			"Lampa, Las Condes, Lo Barnechea, Lo Espejo, Lo Prado, Macul, Maipú, María Pinto, Melipilla, Ñuñoa, Padre Hurtado, " +
			"Paine, Pedro Aguirre Cerda, Peñaflor, Peñalolén, Pirque, Providencia, Pudahuel, Puente Alto, Quilicura, Quinta Normal, " +
			"Recoleta, Renca, San Bernardo, San Joaquín, San José de Maipo, San Miguel, San Pedro, San Ramón, Santiago, Talagante, " +
			"Tiltil, Vitacura",
		OHiggins: "Chépica, Chimbarongo, Codegua, Coinco, Coltauco, Doñihue, Graneros, La Estrella, Las Cabras, Litueche, Lolol, " +
			"Machalí, Malloa, Marchihue, Mostazal, Nancagua, Navidad, Olivar, Palmilla, Paredones, Peralillo, Peumo, Pichidegua, " +
			"Pichilemu, Placilla, Pumanque, Quinta de Tilcoco, Rancagua, Rengo, Requínoa, San Fernando, San Vicente, Santa Cruz",
		Maule: "Cauquenes, Chanco, Colbún, Constitución, Curepto, Curicó, Empedrado, Hualañé, Licantén, Linares, Longaví, Maule, " +
			"Molina, Parral, Pelarco, Pelluhue, Pencahue, Rauco, Retiro, Río Claro, Romeral, Sagrada Familia, San Clemente, " +
			"San Javier, San Rafael, Talca, Teno, Vichuquén, Villa Alegre, Yerbas Buenas",
		Nuble: "Bulnes, Chillán, Chillán Viejo, Cobquecura, Coelemu, Coihueco, El Carmen, Ninhue, Ñiquén, Pemuco, Pinto, Portezuelo, " +
			"Quillón, Quirihue, Ránquil, San Carlos, San Fabián, San Ignacio, San Nicolás, Trehuaco, Yungay",
		Biobio: "Alto Biobío, Antuco, Arauco, Cabrero, Cañete, Chiguayante, Concepción, Contulmo, Coronel, Curanilahue, Florida, " +
			"Hualpén, Hualqui, Laja, Lebu, Los Álamos, Los Ángeles, Lota, Mulchén, Nacimiento, Negrete, Penco, Quilaco, Quilleco, " +
			"San Pedro de la Paz, San Rosendo, Santa Bárbara, Santa Juana, Talcahuano, Tirúa, Tomé, Tucapel, Yumbel",
		Araucania: "Angol, Carahue, Cholchol, Collipulli, Cunco, Curacautín, Curarrehue, Ercilla, Freire, Galvarino, Gorbea, Lautaro, " +
			"Loncoche, Lonquimay, Los Sauces, Lumaco, Melipeuco, Nueva Imperial, Padre Las Casas, Perquenco, Pitrufquén, Pucón, " +
			"Purén, Renaico, Saavedra, Temuco, Teodoro Schmidt, Toltén, Traiguén, Victoria, Vilcún, Villarrica",
		LosRios: "Corral, Futrono, La Unión, Lago Ranco, Lanco, Los Lagos, Máfil, Mariquina, Paillaco, Panguipulli, Río Bueno, Valdivia",
		LosLagos: "Ancud, Calbuco, Castro, Chaitén, Chonchi, Cochamó, Curaco de Vélez, Dalcahue, Fresia, Frutillar, Futaleufú, " +
			"Hualaihué, Llanquihue, Los Muermos, Maullín, Osorno, Palena, Puerto Montt, Puerto Octay, Puerto Varas, Puqueldón, " +
			"Purranque, Puyehue, Queilén, Quellón, Quemchi, Quinchao, Río Negro, San Juan de la Costa, San Pablo",
		Aysen: "Aysén, Chile Chico, Cisnes, Cochrane, Coyhaique, Guaitecas, Lago Verde, O'Higgins, Río Ibáñez, Tortel",
		Magallanes: "Antártica, Cabo de Hornos, Laguna Blanca, Natales, Porvenir, Primavera, Punta Arenas, Río Verde, San Gregorio, " +
			"Timaukel, Torres del Paine",
	}
	byRegion := make(map[Region][]string, len(lists))
	for region, list := range lists {
		byRegion[region] = strings.Split(list, ", ")
	}
	return byRegion
}()
